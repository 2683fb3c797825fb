import assert from "node:assert/strict";
import test from "node:test";

import { fill, formatter, pluralForm } from "../../viz_service/static/format.js";

const english = formatter("en");
const spanish = formatter("es");

test("missing values are shown as a dash", () => {
  assert.equal(english("count", null), "–");
  assert.equal(english("score", undefined), "–");
});

test("scores have three digits and a real minus sign", () => {
  assert.equal(english("score", -0.71), "\u22120.710");
  assert.equal(spanish("score", 0.5), "0,500");
  assert.equal(english("threshold", 0.32), "0.32");
});

test("costs below one keep three significant digits", () => {
  assert.equal(english("cost", "12.5"), "12.50");
  assert.equal(english("cost", "0.00012345"), "0.000123");
  assert.equal(english("cost", 0), "0");
});

test("durations have the unit that suits them", () => {
  assert.equal(english("duration", 999), "999\u00a0ms");
  assert.equal(english("duration", 1500), "1.5\u00a0s");
  assert.equal(english("duration", 90_000), "1.5\u00a0min");
});

test("small rates are never shown as zero", () => {
  assert.equal(english("rate", 0), "0");
  assert.equal(english("rate", 0.01), "0.1");
  assert.equal(english("rate", 9.94), "9.9");
  assert.equal(english("rate", 250.4), "250");
});

test("shares are percentages", () => {
  assert.equal(english("share", 0.1234), "12.3%");
  assert.equal(english("percent", 12.34), "12.3%");
});

test("gaps are filled, and a gap without a value stays", () => {
  assert.equal(fill("{count} of {total}", { count: 3 }), "3 of {total}");
  assert.equal(fill("{a.b-c}", { "a.b-c": 0 }), "0");
  assert.equal(fill("no gap"), "no gap");
});

test("plural forms are those of the catalogue", () => {
  assert.equal(pluralForm("en", 1), "one");
  assert.equal(pluralForm("en", 0), "other");
  assert.equal(pluralForm("es", 1_000_000), "other");
});
