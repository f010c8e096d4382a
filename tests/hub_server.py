"""As much of the Hub's protocol as an upload needs, on 127.0.0.1: create a repository, check the
metadata of a card, ask how to send files, send large ones, commit."""

import base64
import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Commit:
    "What one commit brought."

    message: str
    files: dict[str, bytes]  # by name


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self) -> bytes:
        "The request's body, whole or in chunks"
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, value: dict, code: int = 200):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer({"error": "not here"}, 404)

    def do_PUT(self):
        self.server.hub.large[self.path.rpartition("/")[2]] = self.body()
        self.answer({})

    def do_POST(self):
        body, hub = self.body(), self.server.hub
        if self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            hub.created.append(name)
            self.answer({"url": f"{hub.url}/me/{name}", "name": f"me/{name}"})
        elif "/preupload/" in self.path:

            def mode(name):
                return "lfs" if name.endswith((".safetensors", ".png")) else "regular"

            self.answer(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False}
                        for f in json.loads(body)["files"]
                    ]
                }
            )
        elif self.path.endswith("/info/lfs/objects/batch"):
            self.answer(
                {
                    "transfer": "basic",
                    "objects": [
                        {
                            "oid": o["oid"],
                            "size": o["size"],
                            "actions": {"upload": {"href": f"{hub.url}/large/{o['oid']}"}},
                        }
                        for o in json.loads(body)["objects"]
                    ],
                }
            )
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in body.splitlines()])
        elif self.path == "/api/validate-yaml":
            self.check_card(json.loads(body)["content"])
        else:
            self.answer({"error": "not here"}, 404)

    def check_card(self, card: str):
        "The Hub wants a model's id for a base model, and refuses any other name."
        named = re.search(r"^base_model: (.+)$", card, re.M)
        name = named[1].strip("'\"") if named else "nothing"
        if re.fullmatch(r"([\w.-]+/)?[\w.-]+", name):
            return self.answer({"errors": [], "warnings": []})
        told = f'"base_model" with value "{name}" is not valid. Use a model id from https://hf.co/models'
        self.answer({"errors": [{"message": told}], "warnings": []}, 400)

    def commit(self, lines: list[dict]):
        hub = self.server.hub
        hub.asked += 1
        if hub.asked in hub.refuse:
            return self.answer({"error": "this commit is refused"}, 403)
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        files |= {
            line["value"]["path"]: hub.large[line["value"]["oid"]]
            for line in lines
            if line["key"] == "lfsFile"
        }
        hub.commits.append(
            Commit(
                next(line["value"]["summary"] for line in lines if line["key"] == "header"), files
            )
        )
        number = f"{len(hub.commits):040d}"
        self.answer(
            {
                "success": True,
                "commitOid": number,
                "commitUrl": f"{hub.url}/me/mine/commit/{number}",
                "hookOutput": "",
            }
        )


class HubServer:
    "A Hub for a while: `with HubServer() as server`, then look at `server.commits`."

    def __init__(self, refuse: set[int] = frozenset()):
        self.refuse, self.created, self.commits, self.large, self.asked = refuse, [], [], {}, 0

    def __enter__(self):
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.hub, self.url = self, f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()
