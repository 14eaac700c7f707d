/* Which sentences are shown, in which order, and what of each. */

const BATCH = 8; // sentences drawn at once, of maybe a hundred heatmaps each; the next as the reader nears their end
const MOST_LABELLED = 6; // heatmaps of a run and sentence; where there are more, they are small and have no labels
const forms = [choices];
const SORTS = {
  error: "error rate", disagreement: "disagreement", crossing: "crossing links", line: "line number", words: "length",
};
const UPWARDS = ["line", "words"]; // sorted by them, the lowest come first
let drawnAs = ""; // the choices that the articles were drawn by

function percent(share) {
  return `${tenth(100 * share)} %`;
}

function option(value, title) {
  return html("option", { value }, title);
}

function offerChoices() {
  const { layer, head, sort, of } = choices.elements;
  const most = (key) => Math.max(...data.systems.map((system) => system[key]));
  const upTo = (count) => [...Array(count).keys()].map((i) => option(i + 1, String(i + 1)));
  layer.append(option("own", "as the links are read"), ...upTo(most("layers")), option("all", "all"));
  head.append(option("mean", "mean"), ...upTo(most("heads")), option("all", "all"));
  const known = { error: data.worths, disagreement: data.systems.length > 1, crossing: true, line: true, words: true };
  sort.append(...Object.keys(SORTS).filter((key) => known[key]).map((key) => option(key, SORTS[key])));
  sort.value = data.sort;
  choices.elements.order.value = UPWARDS.includes(data.sort) ? "up" : "down";
  of.append(...(data.combined ? [option("combined", data.combined)] : []), ...names.map((name, i) => option(i, name)));
  of.parentElement.hidden = of.options.length < 2;
  layer.parentElement.hidden = !most("layers");
  for (const select of [head, choices.elements.shift]) select.parentElement.hidden = !most("layers");
  if (most("heads") < 2) head.parentElement.hidden = true;
  // What a reset goes back to is what the page itself says.
  for (const each of [...sort.options, ...choices.elements.order.options]) each.defaultSelected = each.selected;
}

/* What is read. */

function readingsShown(system) {
  // Places in the system's readings; the first where it has not what is asked for.
  const { layer, head, shift } = choices.elements;
  if (layer.value === "own") return [0];
  const wanted = system.readings.flatMap((reading, place) => {
    const headOf = reading.head === null ? "mean" : String(reading.head);
    const chosen = reading.shift === Number(shift.value) && ["all", String(reading.layer)].includes(layer.value)
      && ["all", headOf].includes(head.value);
    return chosen ? [place] : [];
  });
  return wanted.length ? wanted : [0];
}

function drawFigure(panel, heading, about, judged) {
  const facts = [`crossing ${percent(judged.crossing)}`];
  if (judged.error !== null) facts.unshift(`error ${percent(judged.error)}`);
  const caption = html("figcaption", {}, html("span", {}, ...heading), html("span", { class: "value" }),
    ...[...about, facts.join(", ")].map((text) => html("span", { class: "about" }, text)));
  return html("figure", {}, caption, html("div", { class: "heatmap" }, panel));
}

function drawSystem(sentence, system, index, byWords) {
  const places = readingsShown(system);
  const small = places.length > 1 && data.systems.some((each) => readingsShown(each).length > MOST_LABELLED);
  const lacking = choices.elements.layer.value !== "own" && places[0] === 0 && system.layers;
  const figures = places.map((place) => {
    const [reading, judged] = [system.readings[place], sentence.systems[index].readings[place]];
    const grid = gridOf(sentence, index, reading, byWords);
    const panel = drawPanel(sentence, grid, judged.links, `${names[index]}, ${reading.name}`, !small);
    if (small) return drawFigure(panel, [reading.name.replace(/ of heads|, shift \d$/g, "")], [], judged);
    const remark = [system.reverse ? " (reverse)" : "", lacking ? " (as its links are read)" : ""];
    return drawFigure(panel, [...mention(names[index]), ...remark], [reading.name], judged);
  });
  if (!small) return figures;
  const box = html("div", { class: "small-panels" }, html("h4", {}, ...mention(names[index])), ...figures);
  const everyHead = choices.elements.head.value === "all" && system.heads > 1;
  box.style.setProperty("--columns", everyHead ? system.heads + 1 : places.length); // a line for each layer
  return [box];
}

function drawCombined(sentence) {
  const title = `${data.combined}, both directions`;
  const panel = drawPanel(sentence, combinedGrid(sentence), sentence.combined.links, title, true);
  return drawFigure(panel, [data.combined], ["both directions, by words"], sentence.combined);
}

function drawSentence(sentence) {
  const { units, layer } = choices.elements;
  const facts = [`Line ${number(sentence.line)}`];
  if (sentence.disagreement !== null) facts.push(`disagreement ${percent(sentence.disagreement)}`);
  const systems = data.systems.flatMap((system, i) => drawSystem(sentence, system, i, units.value === "words"));
  const combined = sentence.combined && layer.value === "own" ? [drawCombined(sentence)] : [];
  const text = (content) => html("p", { class: content ? "text" : "text empty", dir: "auto" }, content);
  return html("article", { tabindex: "-1", "aria-label": facts.join(", ") },
    html("h3", {}, facts.join(" · ")), text(sentence.source), text(sentence.target),
    html("div", { class: "panels" }, ...systems, ...combined));
}

/* Which sentences. */

function prepare(sentence) {
  sentence.haystack = [sentence.source, sentence.target].join("\n").normalize().toLowerCase();
  sentence.length = sentence.words[0].length;
}

function valueOf(sentence, key) {
  if (key === "words") return sentence.length;
  if (key === "line" || key === "disagreement") return sentence[key];
  const of = choices.elements.of.value;
  if (of === "combined") return sentence.combined[key];
  const places = readingsShown(data.systems[of]);
  return sentence.systems[of].readings[places.length === 1 ? places[0] : 0][key];
}

function choose() {
  const { units, layer, head, shift, sort, order } = choices.elements;
  head.disabled = shift.disabled = layer.value === "own";
  const as = [units, layer, head, shift].map((control) => control.value).join();
  if (as !== drawnAs) articles = new WeakMap();
  drawnAs = as;
  const wanted = terms();
  const sign = order.value === "up" ? 1 : -1;
  const found = data.sentences.filter((sentence) => wanted.every((term) => sentence.haystack.includes(term)))
    .sort((a, b) => sign * (valueOf(a, sort.value) - valueOf(b, sort.value)) || a.line - b.line);
  dim();
  showSentences(found, data.sentences.length);
}

function restore() {
  readAddress();
  choose();
}

/* Keys. */

function keysInside(article, { j, k }) {
  const panel = document.activeElement.closest("svg.panel");
  const first = () => article.querySelector("svg.panel")?.focus();
  if (!panel) return { ArrowDown: j, ArrowUp: k, ArrowRight: first, Enter: first };
  const [row, column] = panels.get(panel).cell ?? [0, 0];
  return {
    ArrowDown: () => lightByKey(panel, row + 1, column),
    ArrowUp: () => lightByKey(panel, row - 1, column),
    ArrowRight: () => lightByKey(panel, row, column + 1),
    ArrowLeft: () => lightByKey(panel, row, column - 1),
    Escape: () => article.focus(),
  };
}

/* The page. */

function errorTables() {
  // Of each system the error rate of each layer and head.
  return data.systems.filter(({ layers }) => layers).flatMap(({ name, layers, heads, readings }) => {
    const columns = [null, ...(heads > 1 ? Array(heads).keys() : [])].map((head) => (head === null ? null : head + 1));
    const rows = [...Array(layers).keys()].flatMap((layer) => [0, 1].map((shift) => [
      `layer ${layer + 1}, ${shift ? "having read it" : "predicting"}`,
      ...columns.map((head) => {
        const of = (each) => each.layer === layer + 1 && each.head === head && each.shift === shift;
        return percent(readings.find(of).error);
      })]));
    const titles = columns.map((head) => ({ title: head === null ? "mean" : `head ${head}`, number: true }));
    return drawTable({ columns: [{ title: name }, ...titles], rows }, `Error rates of ${name}`);
  });
}

function drawPage() {
  document.title = `Alignments: ${data.title}`;
  show("title", `Alignments: ${data.title}`);
  show("facts", ...data.facts.map((fact) => html("p", {}, fact)));
  show("systems", ...data.systems.map(({ name, description }) =>
    html("li", {}, html("b", {}, ...mention(name)), " ", html("span", { class: "about" }, description))));
  show("notes", ...data.notes.map((note) => html("p", {}, "Note: ", note)));
  show("worths", ...(data.worths ? drawTable(data.worths, "Error rates") : []));
  const tables = data.worths ? errorTables() : [];
  show("errors", ...tables);
  document.getElementById("every-error").hidden = !tables.length;
  for (const each of document.querySelectorAll(".of-gold")) each.hidden = !data.worths;
  show("footer", `Made ${data.made}.`);
}

function lightUnder({ x, y }) {
  const panel = document.elementFromPoint(x, y)?.closest("#list svg.panel");
  const cell = panel && cellAt(panel, x, y);
  if (cell) lightCell(panel, cell, x, y);
  else dim();
}

function start() {
  drawPage();
  offerChoices();
  data.sentences.forEach(prepare);
  choices.elements.sort.addEventListener("input", ({ target }) => {
    choices.elements.order.value = UPWARDS.includes(target.value) ? "up" : "down"; // what one looks for
  });
  let pointer = null; // where it is, while it is what points
  const follow = ({ clientX: x, clientY: y }) => lightUnder(pointer = { x, y });
  for (const kind of ["pointermove", "pointerdown"]) list.addEventListener(kind, follow);
  list.addEventListener("pointerleave", () => {
    pointer = null;
    dim();
  });
  addEventListener("keydown", () => { pointer = null; });
  addEventListener("scroll", () => pointer && lightUnder(pointer), { passive: true, capture: true }); // heatmaps', too
  list.addEventListener("focusin", ({ target }) => {
    if (!target.matches("svg.panel")) return dim();
    if (!target.matches(".lit")) lightByKey(target, ...(panels.get(target).cell ?? [0, 0]));
  });
  list.addEventListener("focusout", dim);
  offerThemes();
  startGallery();
}

start();
