/* The sentences that are shown, drawn as they are reached; the choices, kept in the address.

   A page says `forms`, how many sentences are drawn at once (BATCH), which are shown (`choose`, which ends in
   `showSentences`) and how (`drawSentence`), what else its choices change (`restore`), and the keys in a sentence. */

const choices = document.getElementById("choices");
const list = document.getElementById("list");
const more = document.getElementById("more");
const defaults = new Map(); // of each control
let matching = []; // sentences
let articles = new WeakMap(); // of a sentence: its element, once drawn

/* The address. */

function controls() {
  return forms.flatMap((form) =>
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

/* What is shown. */

function terms() {
  return choices.elements.text.value.normalize().toLowerCase().split(/\s+/).filter(Boolean);
}

function showSentences(found, all) {
  matching = found;
  show("count", `${number(found.length)} of ${number(all)} sentences`);
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
  const seen = [...list.children].find((article) => article.getBoundingClientRect().bottom > choices.parentElement.offsetHeight);
  if (current && by > 0 && !current.nextElementSibling) drawMore(BATCH);
  const next = current ? current[by > 0 ? "nextElementSibling" : "previousElementSibling"] : seen;
  next?.focus();
}

function onKey(event) {
  const typing = event.target.matches("input:not([type=radio]), select");
  const inside = document.activeElement.closest("article");
  if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
  const actions = { "/": () => choices.elements.text.focus(), j: () => moveSentence(1), k: () => moveSentence(-1) };
  if (typing) actions.Escape = () => event.target.blur();
  if (inside) Object.assign(actions, keysInside(inside, actions));
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

function changed() {
  choose();
  writeAddress();
  if (list.getBoundingClientRect().top < 0) list.scrollIntoView(); // what was chosen begins there
}

function startGallery() {
  for (const [name, form] of controls()) defaults.set(name, form.elements[name].value);
  choices.addEventListener("input", changed);
  choices.addEventListener("reset", () => setTimeout(changed)); // after the reset itself
  choices.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) restore();
    else writeAddress(); // a link of the contents was followed: it changes no choice
  });
  addEventListener("beforeprint", () => drawMore(matching.length));
  addEventListener("keydown", onKey);
  list.addEventListener("focusin", ({ target }) => {
    list.querySelector("article[tabindex='0']")?.setAttribute("tabindex", "-1"); // one stop of Tab in the list
    target.closest("article").setAttribute("tabindex", "0");
  });
  more.addEventListener("click", () => drawMore(BATCH));
  const nearEnd = new IntersectionObserver((entries) => {
    if (!entries.at(-1).isIntersecting) return;
    drawMore(BATCH);
    nearEnd.unobserve(more); // observed anew, it tells again if the reader has reached the end meanwhile
    nearEnd.observe(more);
  }, { rootMargin: "1500px" });
  nearEnd.observe(more);
  restore();
}
