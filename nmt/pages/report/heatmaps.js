/* The heatmaps of a sentence: drawn when they are opened and come into sight, and anew when others are chosen. */

const readings = document.getElementById("readings");
const boxes = new WeakMap(); // of an element that holds heatmaps: {sentence, lines, as}, as: the choices drawn by
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) drawHeatmaps(target);
}, { rootMargin: "1000px" });

function hasHeatmaps(sentence) {
  return sentence.systems.some(({ heatmap }) => heatmap);
}

function offerHeatmaps(sentence, source, translations) {
  // Elements that hold the texts; a closed one has nothing in sight.
  const box = html("div", { class: "panels" });
  const details = html("details", { class: "heatmaps" }, html("summary", {}, "Heatmaps"), box);
  details.open = choices.elements.heatmaps.value !== "closed";
  boxes.set(box, { sentence, lines: translations.map((translation) => [source, translation]), as: null });
  sight.observe(box);
  return details;
}

function drawHeatmaps(box) {
  const own = boxes.get(box);
  const as = readingsChosen(readings.elements);
  if (own.as === as) return;
  own.as = as;
  box.replaceChildren(...own.sentence.systems.flatMap(({ heatmap }, index) => (heatmap
    ? drawSystem(index, heatmap, { words: heatmap.words, lines: own.lines[index], gold: null }, readings.elements)
    : [html("p", { class: "lacking about" }, ...mention(names[index]), html("br"), data.systems[index].lacking)])));
}

function openBoxes() {
  return list.querySelectorAll(".heatmaps[open] .panels");
}

function redrawHeatmaps() {
  dimCells();
  readingsChosen(readings.elements);
  for (const box of openBoxes()) {
    sight.unobserve(box); // observed anew, it tells again whether it is in sight
    sight.observe(box);
  }
}

function toggleHeatmaps(article) {
  const details = article.querySelector(".heatmaps");
  if (!details) return;
  details.open = !details.open;
  if (!details.open) return article.focus();
  drawHeatmaps(details.querySelector(".panels"));
  (details.querySelector("svg.panel") ?? details.firstElementChild).focus();
}
