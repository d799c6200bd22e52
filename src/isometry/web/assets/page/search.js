// The search of a working point beside everything else: slices of a few milliseconds, begun when the
// controls rest, given up when they move on, and remembered.

import { dualActivation, namedActivation, OutOfReach, searchPoint } from "../theory.js";
import { activationOf, keyOf } from "./model.js";

const REST = 200; // milliseconds without a change
const SLICE = 10;
const FOUND = new Map(); // { point, dual } or { message }

let running = 0; // the number of the search that may go on
let wanted = "";

// Return what is known of the state's working point; where nothing is, search it and call `done`.
export function pointOf(state, done) {
  const key = `${keyOf(state)} like ${state.like}`;
  if (state.like === "" || FOUND.has(key)) {
    running += 1;
    wanted = "";
    return FOUND.get(key) ?? {};
  }
  if (key !== wanted) {
    wanted = key;
    running += 1;
    const own = running;
    setTimeout(() => own === running && begin(state, key, own, done), REST);
  }
  return { busy: true };
}

function begin(state, key, own, done) {
  const activation = activationOf(state);
  const steps = searchPoint(activation, namedActivation(state.like));
  const finish = (found) => {
    if (FOUND.size > 60) FOUND.clear();
    FOUND.set(key, found);
    done();
  };
  const turn = () => {
    if (own !== running) return;
    const end = performance.now() + SLICE;
    try {
      while (performance.now() < end) {
        const { value, done: over } = steps.next();
        if (over) return finish({ point: value, dual: dualActivation(activation, value.scale, value.shift) });
      }
    } catch (error) {
      if (!(error instanceof OutOfReach || error instanceof RangeError)) throw error;
      return finish({ message: error.message });
    }
    setTimeout(turn);
  };
  turn();
}
