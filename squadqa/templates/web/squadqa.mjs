// Extractive question answering in JavaScript: windows, exact character offsets, and the search of
// all valid spans, as squadqa does them in Python. The model is run by ONNX Runtime, the texts are
// read by @huggingface/tokenizers; both are passed in, so that this file needs no other.

const MIN_ROOM = 16; // tokens of context in a window; fewer would make thousands of windows

// Blocks of ideographs above U+FFFF that BERT's tokenizer sets apart
const IDEOGRAPHS = [
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b81f],
  [0x2b920, 0x2ceaf],
  [0x2f800, 0x2fa1f],
];

// The characters of a text that each token stands for. @huggingface/tokenizers tells none, so its
// parts are run one after the other here, on one character at a time where a place would get lost.
export class Reader {
  // tokenizer: a Tokenizer of @huggingface/tokenizers, made from files of WordPiece
  constructor(tokenizer, description) {
    const kinds = ["normalizer", "pre_tokenizer", "model"].map((part) => description[part]?.type);
    if (kinds.join() !== "BertNormalizer,BertPreTokenizer,WordPiece") {
      throw new Error(`the tokenizer is made of ${kinds.join(", ")}: only BERT's is read here`);
    }
    this.tokenizer = tokenizer;
    this.prefix = description.model.continuing_subword_prefix.length;
    this.apart = description.normalizer.handle_chinese_chars;
    this.unknown = description.model.unk_token;
    this.normalized = new Map(); // of characters, because the same ones come again and again
    const special = description.added_tokens.map((token) =>
      token.content.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"),
    );
    this.special = new RegExp(`(${special.join("|")})`, "u");
    this.layout = this.pairLayout();
  }

  // What stands before, between and after question and context, learned from a pair of short texts
  pairLayout() {
    const [a, b] = ["a", "b"].map((text) => this.tokenizer.token_to_id(text));
    const { ids, token_type_ids: types } = this.tokenizer.encode("a", {
      text_pair: "b",
      return_token_type_ids: true,
    });
    const [first, second] = [ids.indexOf(a), ids.indexOf(b)];
    return {
      specials: [ids.slice(0, first), ids.slice(first + 1, second), ids.slice(second + 1)],
      types: [types[first], types[second]],
    };
  }

  normalize(character) {
    if (!this.normalized.has(character)) {
      let text = this.tokenizer.normalizer.normalize(character);
      const code = character.codePointAt(0);
      if (this.apart && IDEOGRAPHS.some(([from, to]) => from <= code && code <= to)) {
        text = ` ${text} `; // the library sets only those below U+10000 apart
      }
      this.normalized.set(character, text);
    }
    return this.normalized.get(character);
  }

  // { ids, starts, ends } of a text: places in UTF-16 units, as slice() takes them; ends exclusive
  read(text) {
    const found = { ids: [], starts: [], ends: [] };
    const add = (token, start, end) => {
      found.ids.push(this.tokenizer.token_to_id(token));
      found.starts.push(start);
      found.ends.push(end);
    };
    let place = 0;
    text.split(this.special).forEach((part, i) => {
      if (i % 2) add(part, place, place + part.length); // written out, such as "[MASK]"
      else this.readPlain(part, place, add);
      place += part.length;
    });
    return found;
  }

  readPlain(text, place, add) {
    let normal = "";
    const [starts, ends] = [[], []]; // where each unit of the normalized text comes from
    for (const character of text) {
      const piece = this.normalize(character);
      normal += piece;
      for (let i = 0; i < piece.length; i++) {
        starts.push(place);
        ends.push(place + character.length);
      }
      place += character.length;
    }
    let at = 0;
    for (const word of this.tokenizer.pre_tokenizer.pre_tokenize(normal)) {
      at = normal.indexOf(word, at); // words come in order, with nothing but space between them
      const end = at + word.length;
      this.tokenizer.model.encode([word]).forEach((token, i) => {
        const known = token !== this.unknown;
        const last = known ? at + token.length - (i ? this.prefix : 0) : end;
        add(token, starts[at], ends[last - 1]);
        at = last;
      });
      at = end;
    }
  }
}

const MARK = /[\p{Mn}\p{Me}]/uy;

// A tokenizer may drop an accent that is a character of its own. It belongs to no token then, and
// goes with the token that ends in front of it: no answer loses its last accent.
export function keepMarks(text, { ids, starts, ends }) {
  if (!/[\p{Mn}\p{Me}]/u.test(text)) return { ids, starts, ends };
  const held = new Uint8Array(text.length);
  starts.forEach((start, i) => held.fill(1, start, ends[i]));
  const longer = (end) => {
    for (MARK.lastIndex = end; !held[end] && MARK.test(text); ) end = MARK.lastIndex;
    return end;
  };
  return { ids, starts, ends: ends.map(longer) };
}

// Windows over the tokens of a context, each with the question in front
export function makeWindows(question, context, layout, maxLength, stride) {
  const [before, between, after] = layout.specials;
  const room = maxLength - before.length - between.length - after.length - question.length;
  if (context.ids.length > room && room < MIN_ROOM) {
    throw new Error(
      `the question has ${question.length} tokens; in a window of ${maxLength} that leaves ` +
        `${Math.max(room, 0)} for the text: shorten the question`,
    );
  }
  const shared = room - stride >= MIN_ROOM ? stride : Math.min(stride, Math.floor(room / 2));
  const first = before.length + question.length + between.length;
  const windows = [];
  for (let begin = 0; ; begin += room - shared) {
    const part = context.ids.slice(begin, begin + room);
    const types = Array(first).fill(layout.types[0]);
    types.push(...Array(part.length + after.length).fill(layout.types[1]));
    const ids = [...before, ...question, ...between, ...part, ...after];
    windows.push({ ids, types, first, begin, count: part.length });
    if (begin + room >= context.ids.length) return windows;
  }
}

// Logarithm of the sum of exponentials
function logTotal(values) {
  const top = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (top === -Infinity) return 0;
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

// Keep the best `most` spans, best first; one that is found twice counts once. Of equals, the first
// stays in front.
function insertSpan(best, span, most) {
  const twin = best.findIndex((other) => other.start === span.start && other.end === span.end);
  if (twin >= 0) {
    if (best[twin].score >= span.score) return;
    best.splice(twin, 1);
  }
  let place = best.length;
  while (place && best[place - 1].score < span.score) place--;
  best.splice(place, 0, span);
  best.length = Math.min(best.length, most);
}

function searchWindow(best, window, context, start, end, options) {
  const { first, begin, count } = window;
  for (let i = 0; i < count; i++) {
    if (context.ends[begin + i] <= context.starts[begin + i]) continue;
    const stop = Math.min(count, i + options.maxAnswerLength);
    for (let j = i; j < stop; j++) {
      if (context.ends[begin + j] <= context.starts[begin + j]) continue;
      const score = Math.fround(start[first + i] + end[first + j]);
      if (best.length === options.topK && score <= best.at(-1).score) continue;
      const span = { start: context.starts[begin + i], end: context.ends[begin + j], score };
      insertSpan(best, span, options.topK);
    }
  }
}

// From the logits of a question's windows to its answers, best first. score = p(start) * p(end),
// each softmax taken over the context tokens and the first tokens of all windows.
export function decode(text, windows, context, logits, options) {
  const best = [];
  const [starts, ends] = [[], []];
  let empty = Infinity; // the score of "no answer", the smallest over the windows
  windows.forEach((window, n) => {
    const { start, end } = logits[n];
    searchWindow(best, window, context, start, end, options);
    const counted = [0, ...Array.from({ length: window.count }, (_, i) => window.first + i)];
    for (const i of counted) {
      starts.push(start[i]);
      ends.push(end[i]);
    }
    empty = Math.min(empty, start[0] + end[0]);
  });
  if (![...starts, ...ends].every(Number.isFinite)) throw new Error("the model gave no numbers");
  if (options.mayBeEmpty) {
    const below = best.filter((span) => empty - span.score > options.nullThreshold).length;
    best.splice(best.length - below, 0, { start: 0, end: 0, score: empty });
  }
  const total = logTotal(starts) + logTotal(ends);
  return best.slice(0, options.topK).map(({ start, end, score }) => ({
    answer: text.slice(start, end),
    start,
    end,
    score: Math.min(Math.exp(score - total), 1),
  }));
}

export class QuestionAnswerer {
  // session: an InferenceSession of ONNX Runtime; ort: its module, for tensors
  constructor({ ort, session, reader, settings = {} }) {
    Object.assign(this, { ort, session, reader });
    this.settings = {
      max_seq_len: 384,
      doc_stride: 128,
      max_answer_len: 30,
      null_threshold: 0,
      ...settings,
    };
  }

  // Read the files of an exported folder. `fetchFile(name)` resolves to a file's bytes.
  static async load({ ort, Tokenizer, fetchFile, sessionOptions = {} }) {
    const json = async (name) => JSON.parse(new TextDecoder().decode(await fetchFile(name)));
    const [description, config, settings] = await Promise.all(
      ["tokenizer.json", "tokenizer_config.json", "squadqa.json"].map(json),
    );
    const reader = new Reader(new Tokenizer(description, config), description);
    const model = await fetchFile("model.onnx");
    const session = await ort.InferenceSession.create(model, sessionOptions);
    return new QuestionAnswerer({ ort, session, reader, settings });
  }

  async windowLogits(window) {
    const columns = {
      input_ids: window.ids,
      attention_mask: window.ids.map(() => 1),
      token_type_ids: window.types,
    };
    const shape = [1, window.ids.length];
    const feeds = {};
    for (const name of this.session.inputNames) {
      const values = BigInt64Array.from(columns[name], BigInt);
      feeds[name] = new this.ort.Tensor("int64", values, shape);
    }
    const found = await this.session.run(feeds);
    return { start: found.start_logits.data, end: found.end_logits.data };
  }

  // Resolves to [{ answer, start, end, score }], best first: text.slice(start, end) === answer.
  // onWindow(done, all) is called before each window and at the end.
  async ask(question, text, { topK = 1, mayBeEmpty = false, onWindow = () => {} } = {}) {
    if (!question.trim()) throw new Error("the question is empty");
    if (!text.trim()) throw new Error("the text is empty");
    const { max_seq_len, doc_stride, max_answer_len, null_threshold } = this.settings;
    const context = keepMarks(text, this.reader.read(text));
    const asked = this.reader.read(question.trim()).ids;
    const windows = makeWindows(asked, context, this.reader.layout, max_seq_len, doc_stride);
    const logits = [];
    for (const window of windows) {
      onWindow(logits.length, windows.length);
      logits.push(await this.windowLogits(window));
    }
    onWindow(windows.length, windows.length);
    return decode(text, windows, context, logits, {
      topK,
      mayBeEmpty,
      maxAnswerLength: max_answer_len,
      nullThreshold: null_threshold,
    });
  }
}
