/* Which sentences are shown, and in which order. */

const RANGES = { words: "Words", line: "Lines", score: "chrF++", disagreement: "Disagreement" };
const BATCH = 30; // sentences drawn at once; the next as the reader nears their end
const axes = document.getElementById("axes");
const forms = [axes, choices, readings];
let opened = ""; // the choice of heatmaps that the sentences were drawn by

function prepare(sentence) {
  const scores = sentence.systems.map((system) => system.chrf);
  sentence.disagreement = Math.max(...scores) - Math.min(...scores);
  sentence.mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  const texts = [sentence.source, sentence.reference, ...sentence.systems.map((system) => system.text)];
  sentence.haystack = texts.join("\n").normalize().toLowerCase();
}

function offerChoices() {
  const { test, of } = choices.elements;
  test.append(...data.tests.map(({ name }, i) => html("option", { value: i }, name)));
  test.parentElement.hidden = data.tests.length < 2;
  of.append(...(names.length > 1 ? [html("option", { value: "mean" }, "all, mean")] : []));
  of.append(...names.map((name, i) => html("option", { value: i }, name)));
  for (const [name, title] of Object.entries(RANGES)) {
    const kind = { type: "number", min: 0, step: "any" };
    const ends = ["from", "to"].map((end) =>
      html("input", { ...kind, name: `${name}-${end}`, placeholder: end, "aria-label": `${title}, ${end}` }));
    const box = html("fieldset", {}, html("legend", {}, title), ...ends);
    box.hidden = name === "disagreement" && names.length < 2;
    document.getElementById("ranges").append(box);
  }
  if (names.length < 2) {
    of.parentElement.hidden = true;
    choices.querySelector("[value=disagreement]").remove();
  }
  const all = data.tests.flatMap(({ sentences }) => sentences);
  for (const each of document.querySelectorAll(".of-heatmaps")) each.hidden = !all.some(hasHeatmaps);
  if (all.every(hasHeatmaps)) choices.querySelector("[value=only]").remove();
  offerReadings(readings.elements);
}

function chosenValue(sentence, name) {
  const of = choices.elements.of.value;
  if (name === "score") return of === "mean" ? sentence.mean : sentence.systems[of].chrf;
  return sentence[name];
}

function choose() {
  const { elements } = choices;
  const { sentences } = data.tests[elements.test.value];
  const heatmaps = elements.heatmaps.value;
  const wanted = terms();
  const ranges = Object.keys(RANGES).map((name) => {
    const [from, to] = ["from", "to"].map((end) => elements[`${name}-${end}`].value);
    return [name, from === "" ? -Infinity : Number(from), to === "" ? Infinity : Number(to)];
  });
  const sign = elements.order.value === "up" ? 1 : -1;
  const key = elements.sort.value;
  const found = sentences
    .filter((sentence) => wanted.every((term) => sentence.haystack.includes(term)))
    .filter((sentence) => ranges.every(([name, from, to]) => {
      const value = chosenValue(sentence, name);
      return from <= value && value <= to;
    }))
    .filter((sentence) => heatmaps !== "only" || hasHeatmaps(sentence))
    .sort((a, b) => sign * (chosenValue(a, key) - chosenValue(b, key)) || a.line - b.line);
  if (heatmaps !== opened) articles = new WeakMap();
  opened = heatmaps;
  dimCells();
  showSentences(found, sentences.length);
}

function restore() {
  readAddress();
  drawCurves();
  choose();
  redrawHeatmaps();
}

/* Keys. */

function moveWord(by) {
  const article = document.activeElement.closest("article");
  const all = [...article.querySelectorAll(".word")];
  const current = all.indexOf(document.activeElement);
  const rightToLeft = current >= 0 && getComputedStyle(all[current]).direction === "rtl";
  all[current < 0 ? 0 : current + (rightToLeft ? -by : by)]?.focus();
}

function keysInside(article, { j, k }) {
  const panel = document.activeElement.closest("svg.panel");
  const h = () => toggleHeatmaps(article);
  return panel ? { h, ...panelKeys(panel) } : {
    h,
    ArrowDown: j,
    ArrowUp: k,
    ArrowRight: () => moveWord(1),
    ArrowLeft: () => moveWord(-1),
    Escape: () => article.focus(),
  };
}

/* The page. */

function drawTest(test, index) {
  const id = `test-${index}`;
  const part = (title, table, written) =>
    (table ? [html("h3", {}, ...mention(title)), ...drawTable(table, `${title}, ${test.name}`, written)] : []);
  const plain = (text) => [text]; // words of a language, be they a system's name or not
  return html("section", { id, "aria-labelledby": `${id}-title` },
    html("h2", { id: `${id}-title` }, `Test set ${test.name}, ${number(test.sentences_count)} sentences`),
    ...part("Scores", test.scores),
    ...part("Differences", test.differences),
    html("div", { class: "pair" }, ...test.buckets.map(drawBuckets)),
    html("div", { class: "pair" },
      ...test.ngrams.map(({ title, table }) => html("div", {}, ...part(title, table, plain)))),
    html("details", {}, html("summary", {}, "Signatures of the scores"),
      ...test.signatures.map((signature) => html("p", { class: "print" }, signature))));
}

function drawPage() {
  document.title = data.title;
  show("title", data.title);
  show("verdict", ...data.verdict.map((sentence) => html("p", {}, ...mention(sentence))));
  show("systems", ...data.systems.map(({ name, description }, i) =>
    html("li", {}, html("b", {}, ...mention(name)), " ", html("span", { class: "about" }, description))));
  show("notes", ...data.notes.map((note) => html("p", {}, "Note: ", ...mention(note))));
  show("tests", ...data.tests.map(drawTest));
  show("runs", ...(data.runs.rows.length ? drawTable(data.runs, "Runs") : []));
  document.getElementById("training").hidden = !data.runs.rows.length && !data.curves.length;
  show("footer", `Made ${data.made}. ${data.machine}`);
  show("contents", ...[...document.querySelectorAll("section:not([hidden])")].map((section) =>
    html("a", { href: `#${section.id}` }, section.querySelector("h2").textContent.split(",")[0])));
}

function start() {
  drawPage();
  offerAxes();
  offerChoices();
  data.tests.forEach((test) => test.sentences.forEach(prepare));
  choices.elements.sort.addEventListener("input", ({ target }) => {
    choices.elements.order.value = target.value === "disagreement" ? "down" : "up"; // what one looks for
  });
  axes.addEventListener("change", () => {
    drawCurves();
    writeAddress();
  });
  list.addEventListener("pointerover", ({ target }) => lightFrom(target));
  list.addEventListener("pointerleave", () => lightFrom(null));
  list.addEventListener("focusin", ({ target }) => lightFrom(target));
  list.addEventListener("focusout", dimWords);
  readings.addEventListener("input", () => {
    redrawHeatmaps();
    writeAddress();
  });
  readings.addEventListener("submit", (event) => event.preventDefault());
  startPanels();
  offerThemes();
  startGallery();
  addEventListener("beforeprint", () => openBoxes().forEach(drawHeatmaps)); // of all sentences, which are there by now
}

start();
