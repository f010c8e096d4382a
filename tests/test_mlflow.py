"""mlflow's transformers flavour with the restored pipeline; in an environment that has mlflow."""

import pytest


@pytest.mark.slow  # the import alone takes seconds
@pytest.mark.own_environment
def test_save_and_load(tiny_folder, tmp_path):
    "The pipeline is saved and loaded by mlflow as in the days of transformers 4."
    mlflow = pytest.importorskip("mlflow.transformers", reason="pip install mlflow")
    import transformers
    from mlflow import pyfunc

    from squadqa.inference import QuestionAnsweringPipeline, restore_pipeline

    asked = {"question": "When does it leave?", "context": "The ferry leaves at nine."}
    with restore_pipeline():
        pipe = transformers.pipeline("question-answering", model=str(tiny_folder))
        # named here, since mlflow would ask for torchvision too
        mlflow.save_model(pipe, tmp_path / "saved", pip_requirements=["squadqa"])
        back = mlflow.load_model(tmp_path / "saved")
        assert isinstance(back, QuestionAnsweringPipeline)
        assert back(asked) == pipe(asked)
        served = pyfunc.load_model(str(tmp_path / "saved"))
        assert served.predict(asked) == [pipe(asked)["answer"]]
