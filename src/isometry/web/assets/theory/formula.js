// A typed formula of h: parsed by a small grammar, never evaluated as a program.
//
//   sum     = product (("+" | "-") product)*
//   product = signed (("*" | "/") signed)*
//   signed  = ("-" | "+") signed | power
//   power   = atom (("^" | "**") signed)?
//   atom    = number | "h" | "x" | "pi" | "e" | name "(" sum ("," sum)* ")" | "(" sum ")"
//
// Values come with derivatives as dual numbers, whole arrays at a time.

import { FUNCTIONS } from "./functions.js";

const LONGEST = 200;
const DEEPEST = 40;
const TOKEN = /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(\*\*|[-+*/^(),]))/y;
const CONSTANTS = { pi: Math.PI, e: Math.E };

export class FormulaError extends RangeError {}

// Return the tree of a formula; a wrong one gives a FormulaError with a sentence.
export function parseFormula(text) {
  if (text.trim() === "") throw new FormulaError("The formula is empty; expected one of h, such as h * tanh(h).");
  if (text.length > LONGEST) {
    throw new FormulaError(`The formula has ${text.length} characters; expected at most ${LONGEST}.`);
  }
  const parser = new Parser(tokens(text), text);
  const tree = parser.sum(0);
  if (parser.now.kind !== "end") parser.fail("an operator or the end");
  return tree;
}

function tokens(text) {
  const found = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) {
      const rest = text.slice(at).trimStart();
      throw new FormulaError(
        `The formula has "${rest[0]}" at character ${text.length - rest.length + 1}; expected numbers, h, ` +
          "functions and + - * / ^ ( ).",
      );
    }
    const [, number, name, sign] = match;
    const place = TOKEN.lastIndex - (number ?? name ?? sign).length + 1;
    if (number) found.push({ kind: "number", value: Number(number), text: number, place });
    else found.push({ kind: name ? "name" : "sign", text: name ?? sign, place });
  }
  return [...found, { kind: "end", text: "the end", place: text.length + 1 }];
}

class Parser {
  constructor(list, text) {
    this.list = list;
    this.text = text;
    this.index = 0;
  }

  get now() {
    return this.list[this.index];
  }

  is(...signs) {
    return this.now.kind === "sign" && signs.includes(this.now.text);
  }

  take() {
    return this.list[this.index++];
  }

  fail(expected) {
    const what = this.now.kind === "end" ? "ends" : `has "${this.now.text}" at character ${this.now.place}`;
    throw new FormulaError(`The formula ${what}; expected ${expected}${this.now.kind === "end" ? " first" : " there"}.`);
  }

  sum(depth) {
    if (depth > DEEPEST) throw new FormulaError(`The formula is nested more than ${DEEPEST} deep; expected less.`);
    let left = this.product(depth);
    while (this.is("+", "-")) left = { op: this.take().text, args: [left, this.product(depth)] };
    return left;
  }

  product(depth) {
    let left = this.signed(depth);
    while (this.is("*", "/")) left = { op: this.take().text, args: [left, this.signed(depth)] };
    return left;
  }

  signed(depth) {
    if (depth > DEEPEST) throw new FormulaError(`The formula is nested more than ${DEEPEST} deep; expected less.`);
    if (this.is("+")) return this.take(), this.signed(depth + 1);
    if (this.is("-")) return this.take(), { op: "negate", args: [this.signed(depth + 1)] };
    return this.power(depth);
  }

  power(depth) {
    const base = this.atom(depth);
    if (!this.is("^", "**")) return base;
    this.take();
    return { op: "^", args: [base, this.signed(depth + 1)] };
  }

  atom(depth) {
    if (this.now.kind === "number") return { op: "number", value: this.take().value, args: [] };
    if (this.is("(")) {
      this.take();
      const inner = this.sum(depth + 1);
      if (!this.is(")")) this.fail('")"');
      this.take();
      return inner;
    }
    if (this.now.kind === "name") return this.named(depth);
    return this.fail("a number, h, a function or (");
  }

  named(depth) {
    const { text } = this.now;
    if (text === "h" || text === "x") return this.take(), { op: "h", args: [] };
    if (Object.hasOwn(CONSTANTS, text)) return this.take(), { op: "number", name: text, value: CONSTANTS[text], args: [] };
    if (!Object.hasOwn(FUNCTIONS, text)) {
      throw new FormulaError(
        `The formula has "${text}" at character ${this.now.place}; expected h, pi, e or a function such as ` +
          `tanh, exp, relu, max. ${Object.keys(FUNCTIONS).length} are known.`,
      );
    }
    return this.call(depth);
  }

  call(depth) {
    const name = this.take().text;
    if (!this.is("(")) this.fail(`"(" after ${name}`);
    this.take();
    const args = [this.sum(depth + 1)];
    while (this.is(",")) {
      this.take();
      args.push(this.sum(depth + 1));
    }
    const wanted = FUNCTIONS[name].arguments ?? 1;
    if (args.length !== wanted) {
      throw new FormulaError(`The formula gives ${name} ${args.length} arguments; expected ${wanted}.`);
    }
    if (!this.is(")")) this.fail('")"');
    this.take();
    return { op: name, args };
  }
}

// Return [values, derivatives] of a tree at an array of h.
export function evaluateTree(tree, h) {
  const size = h.length;
  if (tree.op === "number") return [new Float64Array(size).fill(tree.value), new Float64Array(size)];
  if (tree.op === "h") return [h, new Float64Array(size).fill(1)];
  const args = tree.args.map((part) => evaluateTree(part, h));
  const { dual } = operation(tree);
  const values = new Float64Array(size);
  const slopes = new Float64Array(size);
  const [[a, da], [b, db] = []] = args;
  for (let i = 0; i < size; i++) {
    const [value, fa, fb] = b ? dual(a[i], b[i]) : dual(a[i]);
    values[i] = value;
    // a branch that is constant has slope 0, even where its own function has an infinite one
    slopes[i] = (da[i] === 0 ? 0 : fa * da[i]) + (b && db[i] !== 0 ? fb * db[i] : 0);
  }
  return [values, slopes];
}

const OPERATIONS = {
  "+": { dual: (a, b) => [a + b, 1, 1] },
  "-": { dual: (a, b) => [a - b, 1, -1] },
  "*": { dual: (a, b) => [a * b, b, a] },
  "/": { dual: (a, b) => [a / b, 1 / b, -a / (b * b)] },
  "^": { dual: (a, b) => [a ** b, b * a ** (b - 1), a ** b * Math.log(a)] },
  negate: { dual: (a) => [-a, -1] },
};

function operation(tree) {
  return OPERATIONS[tree.op] ?? FUNCTIONS[tree.op];
}

// Return the functions of h whose roots are kinks or jumps of a tree.
export function switches(tree) {
  const inner = tree.args.flatMap(switches);
  const own = FUNCTIONS[tree.op];
  if (!own || !Object.hasOwn(FUNCTIONS, tree.op) || !own.kinks) return inner;
  const at = (h) => tree.args.map((part) => evaluateTree(part, h)[0]);
  const one = own.kinks.map((kink) => (h) => {
    const [a, b] = at(h);
    return b ? a.map((x, i) => x - b[i]) : a.map((x) => x - kink);
  });
  return [...inner, ...one];
}
