"use strict";

// What a composition costs and how accurate it is. Sets of classes are the bits of a BigInt in the
// outcomes of test samples, and ascending class indices joined by commas elsewhere.

function prepare(data) {
  const set = (text) => BigInt("0x" + text);
  const outcomes = (rows) => rows && rows.map(([label, text, count]) => [BigInt(label), set(text), count]);
  const accuracy = data.accuracy && {
    ...data.accuracy,
    full: outcomes(data.accuracy.full),
    together: outcomes(data.accuracy.together),
    pairs: outcomes(data.accuracy.pairs),
  };
  return { ...data, accuracy };
}

// Parameters and multiply-accumulates of the model composed of the classes, and whether
// they are exact. Estimates are those of CompositionCosts.estimate.
function cost(costs, classes) {
  const known = costs.known[classes.join()];
  if (known) return { values: known, exact: true };
  const bases = costs.base === 1
    ? classes.map(String)
    : classes.flatMap((first, at) => classes.slice(at + 1).map((second) => `${first},${second}`));
  const values = [0, 1].map((figure) => {
    const total = costs.known[costs.everyone][figure];
    const found = bases.map((base) => costs.known[base][figure]);
    const mean = found.reduce((sum, value) => sum + value, 0) / found.length;
    const lacking = Math.max(0, 1 - mean / Math.max(total, 1)) ** power(costs.powers, figure + 1, classes.length);
    return Math.min(total, Math.max(total * (1 - lacking), ...found));
  });
  return { values, exact: false };
}

// The power for k classes, linear in log k between the rows.
function power(rows, column, k) {
  const next = rows.findIndex((row) => row[0] >= k);
  if (next <= 0) return rows.at(next)[column];
  const [low, high] = [rows[next - 1], rows[next]];
  const way = Math.log(k / low[0]) / Math.log(high[0] / low[0]);
  return low[column] + way * (high[column] - low[column]);
}

// The share of samples of the chosen classes that prefer none of the others.
function share(outcomes, chosen) {
  let right = 0, total = 0;
  for (const [label, preferred, count] of outcomes) {
    if (!((chosen >> label) & 1n)) continue;
    total += count;
    if (!(preferred & chosen)) right += count;
  }
  return total ? right / total : NaN;
}

// Accuracy of the composition and of the full model on the same classes, and whether it was measured.
function accuracy(data, classes) {
  const found = data.measured[classes.join()];
  if (found) return { value: found[0], full: found[1], measured: true };
  const k = classes.length;
  if (!data.accuracy || k < 2) return null;
  const chosen = classes.reduce((set, index) => set | (1n << BigInt(index)), 0n);
  const { full, together, pairs, classes: everyone } = data.accuracy;
  const way = everyone > 2 ? Math.log(k / 2) / Math.log(everyone / 2) : 1;
  const of = share(together, chosen);
  const value = pairs ? way * of + (1 - way) * share(pairs, chosen) : of;
  const exact = k === everyone || (pairs && k === 2);
  return { value, full: share(full, chosen), measured: Boolean(exact) };
}

function percent(value) {
  return Number.isFinite(value) ? (100 * value).toFixed(1) + " %" : "–";
}

function connect(data, root) {
  const boxes = [...root.querySelectorAll("input[type=checkbox]")];
  const show = (name, text) => { root.querySelector(`[data-show=${name}]`).textContent = text; };
  const bar = (name, value) =>
    root.querySelector(`[data-bar=${name}]`).setAttribute("width", 100 * Math.min(1, value || 0) + "%");
  const thousands = (number) => number.toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");

  function update() {
    const classes = boxes.filter((box) => box.checked).map((box) => Number(box.value));
    const k = classes.length;
    const { values, exact } = k ? cost(data.costs, classes) : { values: [NaN, NaN], exact: true };
    ["parameters", "flops"].forEach((name, figure) => {
      const value = Math.round(values[figure]), whole = data.costs[name];
      const isKnown = whole && Number.isFinite(value);
      show(name, isKnown ? percent(value / whole) : "–");
      const numbers = `${thousands(value)} of ${thousands(whole)}`;
      show(`${name}-note`, isKnown ? (exact ? numbers : `estimate; about ${numbers}`) : "");
      bar(name, isKnown ? value / whole : 0);
    });
    const found = k ? accuracy(data, classes) : null;
    show("accuracy", found ? percent(found.value) : "–");
    const full = found ? `full model on these classes ${percent(found.full)}` : "";
    const kind = found ? (found.measured ? "measured; " : "estimate; ") : "";
    show("accuracy-note", k === 1 && !found ? "one class: there is no choice" : kind + full);
    bar("accuracy", found ? found.value : 0);
    show("chosen", `${k} of ${data.present.length} classes`);
    show("code", k ? `mk.compose(modules, [${classes.join(", ")}])` : "Tick classes to compose them.");
  }

  const search = root.querySelector("input[type=search]");
  const isShown = (box) => !box.closest("label").hidden;
  root.addEventListener("change", update);
  root.addEventListener("click", (event) => {
    const what = event.target.dataset.choose;
    if (!what) return;
    for (const box of boxes.filter(isShown)) {
      if (!box.disabled) box.checked = what === "all" || (what === "other" && !box.checked);
    }
    update();
  });
  if (search) filterBy(search, boxes.map((box) => box.closest("label")));
  update();
}

// Shows only the elements whose data-name contains the text typed.
function filterBy(search, elements) {
  search.addEventListener("input", () => {
    const text = search.value.trim().toLowerCase();
    for (const each of elements) each.hidden = !each.dataset.name.toLowerCase().includes(text);
  });
}

if (typeof document !== "undefined") {
  const data = prepare(JSON.parse(document.getElementById("composition-data").textContent));
  connect(data, document.getElementById("composition"));
  for (const search of document.querySelectorAll("input[data-table]")) {
    filterBy(search, [...document.querySelectorAll(`#${search.dataset.table} tbody tr`)]);
  }
} else {
  module.exports = { accuracy, cost, prepare };
}
