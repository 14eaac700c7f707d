/* Which sentences are shown, and in which order. */

const RANGES = { words: "Words", line: "Lines", score: "chrF++", disagreement: "Disagreement" };
const BATCH = 30; // sentences drawn at once; the next as the reader nears their end
const defaults = new Map();
let matching = []; // sentences
const articles = new WeakMap(); // of a sentence: its element, once drawn

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
}

function controls() {
  return [axes, choices].flatMap((form) =>
    [...new Set([...form.elements].map((control) => control.name).filter(Boolean))].map((name) => [name, form]));
}

function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const [name, form] of controls()) {
    const control = form.elements[name];
    control.value = wanted.get(name) ?? defaults.get(name);
    if (control.value === "" && defaults.get(name)) control.value = defaults.get(name); // a choice not offered
  }
}

function writeAddress() {
  const state = new URLSearchParams();
  for (const [name, form] of controls()) {
    const { value } = form.elements[name];
    if (value !== defaults.get(name)) state.set(name, value);
  }
  const hash = state.size ? `#${state}` : "";
  if (location.hash !== hash) history.replaceState(null, "", hash || location.pathname + location.search);
}

function chosenValue(sentence, name) {
  const of = choices.elements.of.value;
  if (name === "score") return of === "mean" ? sentence.mean : sentence.systems[of].chrf;
  return sentence[name];
}

function terms() {
  return choices.elements.text.value.normalize().toLowerCase().split(/\s+/).filter(Boolean);
}

function choose() {
  const { elements } = choices;
  const { sentences } = data.tests[elements.test.value];
  const wanted = terms();
  const ranges = Object.keys(RANGES).map((name) => {
    const [from, to] = ["from", "to"].map((end) => elements[`${name}-${end}`].value);
    return [name, from === "" ? -Infinity : Number(from), to === "" ? Infinity : Number(to)];
  });
  const sign = elements.order.value === "up" ? 1 : -1;
  const key = elements.sort.value;
  matching = sentences
    .filter((sentence) => wanted.every((term) => sentence.haystack.includes(term)))
    .filter((sentence) => ranges.every(([name, from, to]) => {
      const value = chosenValue(sentence, name);
      return from <= value && value <= to;
    }))
    .sort((a, b) => sign * (chosenValue(a, key) - chosenValue(b, key)) || a.line - b.line);
  show("count", `${number(matching.length)} of ${number(sentences.length)} sentences`);
  list.replaceChildren();
  drawMore(BATCH);
}

function drawMore(amount) {
  const shown = list.children.length;
  for (const sentence of matching.slice(shown, shown + amount)) {
    if (!articles.has(sentence)) articles.set(sentence, drawSentence(sentence));
    list.append(articles.get(sentence));
  }
  if (!list.querySelector("article[tabindex='0']")) list.firstElementChild?.setAttribute("tabindex", "0");
  more.hidden = list.children.length === matching.length;
  markFound();
}

function markFound() {
  // As highlights of ranges: the words stay the elements that they are.
  if (!CSS.highlights) return;
  const [wanted, ranges] = [terms(), []];
  for (const box of wanted.length ? list.querySelectorAll(".text") : []) {
    const text = box.textContent.toLowerCase();
    if (text.length !== box.textContent.length) continue; // a letter that grows with its case: places would be off
    for (const term of wanted) {
      for (let at = text.indexOf(term); at >= 0; at = text.indexOf(term, at + term.length)) {
        ranges.push(rangeOf(box, at, at + term.length));
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

function rangeOf(box, start, end) {
  const range = new Range();
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  for (let at = 0, node; (node = walker.nextNode()) && at < end; at += node.length) {
    if (start >= at && start < at + node.length) range.setStart(node, start - at);
    if (end <= at + node.length) range.setEnd(node, end - at);
  }
  return range;
}

/* Keys. */

function moveSentence(by) {
  const current = document.activeElement.closest("article");
  const seen = [...list.children].find((article) => article.getBoundingClientRect().bottom > choices.offsetHeight);
  if (current && by > 0 && !current.nextElementSibling) drawMore(BATCH);
  const next = current ? current[by > 0 ? "nextElementSibling" : "previousElementSibling"] : seen;
  next?.focus();
}

function moveWord(by) {
  const article = document.activeElement.closest("article");
  const all = [...article.querySelectorAll(".word")];
  const current = all.indexOf(document.activeElement);
  const rightToLeft = current >= 0 && getComputedStyle(all[current]).direction === "rtl";
  all[current < 0 ? 0 : current + (rightToLeft ? -by : by)]?.focus();
}

function onKey(event) {
  const typing = event.target.matches("input:not([type=radio]), select");
  const inside = document.activeElement.closest("article");
  if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
  const actions = { "/": () => choices.elements.text.focus(), j: () => moveSentence(1), k: () => moveSentence(-1) };
  if (typing) actions.Escape = () => event.target.blur();
  if (inside) {
    actions.ArrowDown = actions.j;
    actions.ArrowUp = actions.k;
    actions.ArrowRight = () => moveWord(1);
    actions.ArrowLeft = () => moveWord(-1);
    actions.Escape = () => inside.focus();
  }
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

/* The page. */

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
}

function showTheme() {
  document.getElementById("theme").setAttribute("aria-pressed", isDark());
}

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
  for (const [name, form] of controls()) defaults.set(name, form.elements[name].value);
  const restore = () => {
    readAddress();
    drawCurves();
    choose();
  };
  const changed = () => {
    choose();
    writeAddress();
    if (list.getBoundingClientRect().top < 0) list.scrollIntoView(); // what was chosen begins there
  };
  choices.elements.sort.addEventListener("input", ({ target }) => {
    choices.elements.order.value = target.value === "disagreement" ? "down" : "up"; // what one looks for
  });
  choices.addEventListener("input", changed);
  choices.addEventListener("reset", () => setTimeout(changed)); // after the reset itself
  choices.addEventListener("submit", (event) => event.preventDefault());
  axes.addEventListener("change", () => {
    drawCurves();
    writeAddress();
  });
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) restore();
    else writeAddress(); // a link of the contents was followed: it changes no choice
  });
  addEventListener("beforeprint", () => drawMore(matching.length));
  addEventListener("keydown", onKey);
  list.addEventListener("pointerover", ({ target }) => lightFrom(target));
  list.addEventListener("pointerleave", () => lightFrom(null));
  list.addEventListener("focusin", ({ target }) => {
    list.querySelector("article[tabindex='0']")?.setAttribute("tabindex", "-1"); // one stop of Tab in the list
    target.closest("article").setAttribute("tabindex", "0");
    lightFrom(target);
  });
  list.addEventListener("focusout", dim);
  more.addEventListener("click", () => drawMore(BATCH));
  const nearEnd = new IntersectionObserver((entries) => {
    if (!entries.at(-1).isIntersecting) return;
    drawMore(BATCH);
    nearEnd.unobserve(more); // observed anew, it tells again if the reader has reached the end meanwhile
    nearEnd.observe(more);
  }, { rootMargin: "1500px" });
  nearEnd.observe(more);
  document.getElementById("theme").addEventListener("click", toggleTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();
  restore();
}

start();
