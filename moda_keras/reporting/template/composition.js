"use strict";

// What a composition costs and how accurate it is, worked out from the sets of units. Sets of
// classes are the bits of a BigInt.

function prepare(data) {
  const set = (text) => BigInt("0x" + text);
  const outcomes = (rows) => rows && rows.map(([label, text, count]) => [BigInt(label), set(text), count]);
  const accuracy = data.accuracy && {
    ...data.accuracy,
    full: outcomes(data.accuracy.full),
    together: outcomes(data.accuracy.together),
    pairs: outcomes(data.accuracy.pairs),
  };
  const axes = data.costs.axes.map((axis) =>
    axis.map(([count, meets, avoids]) => [count, meets.map(set), avoids.map(set)]));
  return { ...data, accuracy, costs: { ...data.costs, axes } };
}

function bits(classes) {
  return classes.reduce((chosen, index) => chosen | (1n << BigInt(index)), 0n);
}

// Trainable parameters and multiply-accumulates of the model composed of the chosen classes.
function cost(costs, chosen) {
  if (costs.table.length) return costs.table[Number(chosen)];
  const stays = ([, meets, avoids]) =>
    meets.every((set) => set & chosen) && !avoids.some((set) => set & chosen);
  const kept = costs.axes.map((axis) =>
    axis.reduce((sum, group) => (stays(group) ? sum + group[0] : sum), 0));
  let parameters = 0, flops = 0;
  for (const [perParameter, perFlop, axes, onlyIf] of costs.terms) {
    if (onlyIf !== null && !kept[onlyIf]) continue;
    const product = axes.reduce((sofar, axis) => sofar * Math.max(1, kept[axis]), 1);
    parameters += perParameter * product;
    flops += perFlop * product;
  }
  return [parameters, flops];
}

// The share of samples of the chosen classes to which none of these is preferred.
function share(outcomes, chosen) {
  let right = 0, total = 0;
  for (const [label, preferred, count] of outcomes) {
    if (!((chosen >> label) & 1n)) continue;
    total += count;
    if (!(preferred & chosen)) right += count;
  }
  return total ? right / total : NaN;
}

// Accuracy of the composition, of the full model on the same classes, and whether it was measured.
function accuracy(data, chosen, k) {
  const found = data.measured[chosen.toString(16)];
  if (found) return { value: found[0], full: found[1], measured: true };
  if (!data.accuracy || k < 2) return null;
  const { full, together, pairs, classes } = data.accuracy;
  const way = classes > 2 ? Math.log(k / 2) / Math.log(classes / 2) : 1;
  const of = share(together, chosen);
  const value = pairs ? way * of + (1 - way) * share(pairs, chosen) : of;
  const exact = k === classes || (pairs && k === 2);
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
    const k = classes.length, chosen = bits(classes);
    const [parameters, flops] = k ? cost(data.costs, chosen) : [0, 0];
    const size = parameters / data.costs.parameters, work = flops / data.costs.flops;
    show("parameters", k ? percent(size) : "–");
    show("parameters-note", k ? `${thousands(parameters)} of ${thousands(data.costs.parameters)}` : "");
    bar("parameters", size);
    show("flops", k && data.costs.flops ? percent(work) : "–");
    show("flops-note", k && data.costs.flops ? `${thousands(flops)} of ${thousands(data.costs.flops)}` : "");
    bar("flops", work);
    const found = k ? accuracy(data, chosen, k) : null;
    show("accuracy", found ? percent(found.value) : "–");
    const full = found ? `full model on these classes ${percent(found.full)}` : "";
    const kind = found ? (found.measured ? "measured; " : "estimate; ") : "";
    show("accuracy-note", k === 1 && !found ? "one class: nothing to tell apart" : kind + full);
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

// Shows only the elements whose data-name has the text that is typed.
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
  module.exports = { accuracy, bits, cost, prepare };
}
