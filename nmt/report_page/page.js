"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const names = data.systems.map((system) => system.name);
const choices = document.getElementById("choices");
const axes = document.getElementById("axes");
const list = document.getElementById("list");
const more = document.getElementById("more");
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", // circle, square, triangle, diamond, plus
  "M-3.7-3.7h7.4v7.4h-7.4z",
  "M0-5 4.7 3.6H-4.7z",
  "M0-5.4 5.4 0 0 5.4-5.4 0z",
  "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
];
const COLOURS = 6; // .s0 to .s5 of the style
const BATCH = 30; // sentences drawn at once; the next as the reader nears their end

/* Elements. Text of the data becomes text nodes and attributes, never markup. */

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function show(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: 4 });
}

function tenth(value) {
  return value.toFixed(1);
}

/* Systems, tables. */

function swatch(system) {
  const path = svg("path", { d: SHAPES[system % SHAPES.length] });
  return svg("svg", { class: `swatch s${system % COLOURS}`, viewBox: "-5 -5 10 10", "aria-hidden": "true" }, path);
}

// Each system's name, not within another word; the longer first, as one name may begin another.
const NAMES = new RegExp(`(?<![\\p{L}\\p{N}_-])(${
  [...names].sort((a, b) => b.length - a.length).map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|")
})(?![\\p{L}\\p{N}_-])`, "u");

function mention(text) {
  // The text, each system's name in it beside the system's mark.
  return text.split(NAMES).map((part) => (names.includes(part)
    ? html("span", { class: "name" }, swatch(names.indexOf(part)), part) : part));
}

function drawTable(table, label, written = mention) {
  const kinds = table.columns.map((column) => (column.number ? { class: "number" } : {}));
  const head = table.columns.map((column, i) => html("th", { scope: "col", ...kinds[i] }, ...mention(column.title)));
  const rows = table.rows.map((row) =>
    html("tr", {}, ...row.map((text, i) =>
      html(i ? "td" : "th", { ...(i ? {} : { scope: "row" }), dir: "auto", ...kinds[i] }, ...written(text)))));
  const body = html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows));
  // Focusable, so that a table wider than the page can be moved by keys.
  const box = html("div", { class: "table", role: "region", tabindex: "0", "aria-label": label }, body);
  const helps = table.columns.filter((column) => column.help).map((column) => `${column.title}: ${column.help}`);
  return [box, ...(helps.length ? [html("p", { class: "print" }, `${helps.join(". ")}.`)] : [])];
}

/* Charts: a spec {title, xs: {low, high, ticks: [{at, lines}], unit}, ys: [all values], series: [{system, points}]};
   a point {x, y, low, high, tip} or null, which breaks the line. */

const [TOP, BOTTOM, RIGHT] = [12, 216, 20]; // pixels: edges of the area in which points lie

function ticks(low, high, wanted) {
  // Round numbers from one not above low to one not below high.
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function depth(spec) {
  // Lines of text below the points.
  return Math.max(...spec.xs.ticks.map(({ lines }) => lines.length)) + (spec.xs.unit ? 1 : 0);
}

function scaleOf(spec, room) {
  const [lowest, highest] = [Math.min(...spec.ys), Math.max(...spec.ys)];
  const levels = ticks(lowest >= 0 && lowest < highest / 3 ? 0 : lowest, highest, 5);
  const left = 12 + 7 * Math.max(...levels.map((level) => number(level).length)); // 7: a digit
  const widest = Math.max(...spec.xs.ticks.flatMap(({ lines }) => lines.map((line) => line.length)));
  const width = Math.max(room, left + RIGHT + spec.xs.ticks.length * (6.6 * widest + 6)); // so that none overlap
  const across = (width - left - RIGHT) / (spec.xs.high - spec.xs.low || 1);
  const up = (BOTTOM - TOP) / (levels.at(-1) - levels[0] || 1);
  const x = (value) => left + (value - spec.xs.low) * across;
  const y = (value) => BOTTOM - (value - levels[0]) * up;
  return { x, y, levels, left, width, height: BOTTOM + 12 + 14 * depth(spec) };
}

function drawAxes({ xs }, { x, y, levels, left, width }) {
  const label = (text, place, anchor) => svg("text", { ...place, "text-anchor": anchor }, text);
  return [
    ...levels.map((level) => svg("line", { class: "grid", x1: left, x2: width - RIGHT, y1: y(level), y2: y(level) })),
    ...levels.map((level) => label(number(level), { x: left - 8, y: y(level) + 4 }, "end")),
    ...xs.ticks.flatMap(({ at, lines }) =>
      lines.map((line, i) => label(line, { x: x(at), y: BOTTOM + 18 + 14 * i }, "middle"))),
    ...(xs.unit ? [label(xs.unit, { x: width - RIGHT, y: BOTTOM + 32 }, "end")] : []),
  ];
}

function drawSeries({ system, points }, { x, y }) {
  const steps = points.map((point, i) => point && `${points[i - 1] ? "L" : "M"}${x(point.x)} ${y(point.y)}`);
  const there = points.filter(Boolean);
  return svg("g", { class: `s${system % COLOURS}` },
    svg("path", { class: "line", d: steps.filter(Boolean).join("") }),
    ...there.filter(({ low, high }) => low != null && high != null).map((point) =>
      svg("line", { class: "whisker", x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high) })),
    ...there.map((point) =>
      svg("path", { d: SHAPES[system % SHAPES.length], transform: `translate(${x(point.x)} ${y(point.y)})` },
        svg("title", {}, point.tip))));
}

function drawChart(box, spec) {
  const scale = scaleOf(spec, box.clientWidth);
  const { width, height } = scale;
  const label = `Chart: ${spec.title}. Its figures stand in the table below it.`;
  box.replaceChildren(
    svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
      ...drawAxes(spec, scale), ...spec.series.map((series) => drawSeries(series, scale))));
}

function drawFigure(spec, table) {
  const box = html("div", { class: "chart" });
  // Fixed, as drawing must not change the size that is waited for; with room for a scroll bar.
  box.style.height = `${BOTTOM + 28 + 14 * depth(spec)}px`;
  new ResizeObserver(() => drawChart(box, spec)).observe(box);
  const legend = spec.series.map(({ system }) => html("li", {}, ...mention(names[system])));
  const figures = html("details", {}, html("summary", {}, "Figures as a table"), ...drawTable(table, spec.title));
  return html("figure", {}, html("ul", { class: "legend" }, ...legend), box, figures);
}

function writer(values) {
  // Numbers of one kind are written alike: counts, shares of 1, or scores of 100.
  if (values.every(Number.isInteger)) return number;
  return (value) => value.toFixed(Math.max(...values) <= 1 ? 3 : 1);
}

function drawBuckets({ title, help, labels, counts, count_unit: unit, series }) {
  const values = series.flatMap((each) => each.values).filter(Boolean);
  const ys = values.length ? values.flatMap(({ value, low, high }) => [value, low ?? value, high ?? value]) : [0, 1];
  const write = writer(ys);
  const told = (value) =>
    (value ? write(value.value) + (value.low == null ? "" : ` (${write(value.low)} to ${write(value.high)})`) : "–");
  const lines = labels.map((label) => label.split(" ")); // so that neighbours have room
  const deepest = Math.max(...lines.map((label) => label.length));
  lines.forEach((label, i) => label.push(...Array(deepest - label.length).fill(""), number(counts[i])));
  const place = (bucket, i) => bucket + (i - (series.length - 1) / 2) * 0.12; // aside, so that none hides another
  const spec = {
    title,
    xs: { low: -0.5, high: labels.length - 0.5, ticks: lines.map((label, at) => ({ at, lines: label })) },
    ys,
    series: series.map(({ name, values }, i) => ({
      system: names.indexOf(name),
      points: values.map((value, bucket) => value && {
        x: place(bucket, i), y: value.value, low: value.low, high: value.high,
        tip: `${name}, ${labels[bucket]}: ${told(value)}`,
      }),
    })),
  };
  const titles = [unit, ...series.map(({ name }) => name)];
  const table = {
    columns: [{ title: "" }, ...titles.map((text) => ({ title: text, number: true }))],
    rows: labels.map((label, i) => [label, number(counts[i]), ...series.map((each) => told(each.values[i]))]),
  };
  const explained = [help.replace(/\.$/, ""), `Last line: number of ${unit}`].filter(Boolean).join(". ");
  return html("div", {}, html("h3", {}, ...mention(title)), html("p", { class: "help" }, `${explained}.`),
    drawFigure(spec, table));
}

/* Learning curves. */

const AXES = {
  y: { bleu: "BLEU", loss: "loss" },
  x: { update: "updates", tokens: "target tokens", minutes: "minutes" },
};

function offerAxes() {
  for (const [axis, titles] of Object.entries(AXES)) {
    const known = Object.keys(titles).filter((key) =>
      data.curves.some(({ points }) => points.some((point) => point[key] != null)));
    known.forEach((key, i) => {
      const radio = html("input", { type: "radio", name: axis, value: key, ...(i ? {} : { checked: "" }) });
      document.getElementById(`axis-${axis}`).append(html("label", {}, radio, ` ${titles[key]}`));
    });
  }
  axes.hidden = !axes.elements.x || !axes.elements.y;
}

function drawCurves() {
  if (axes.hidden) return;
  const [x, y] = [axes.elements.x.value, axes.elements.y.value];
  const [across, up] = [AXES.x[x], AXES.y[y]];
  const series = data.curves.map(({ name, points }) => ({
    system: names.indexOf(name),
    points: points.filter((point) => point[x] != null && point[y] != null).map((point) => (
      { x: point[x], y: point[y], tip: `${name}: ${number(point[y])} after ${number(point[x])} ${across}` })),
  }));
  const points = series.flatMap((each) => each.points);
  const places = ticks(0, Math.max(1e-9, ...points.map((point) => point.x)), 4);
  const compact = { notation: "compact", maximumFractionDigits: 2 };
  const write = (at) => (at < 10000 ? number(at) : at.toLocaleString("en", compact));
  const spec = {
    title: `${up} over ${across}`,
    xs: { low: 0, high: places.at(-1), ticks: places.map((at) => ({ at, lines: [write(at)] })), unit: across },
    ys: points.length ? points.map((point) => point.y) : [0, 1],
    series,
  };
  const table = {
    columns: [{ title: "" }, ...[across, up].map((title) => ({ title, number: true }))],
    rows: series.flatMap(({ system, points }) =>
      points.map((point) => [names[system], number(point.x), number(point.y)])),
  };
  show("curves", drawFigure(spec, table));
}

/* How a translation differs from its reference. */

const segmenter = new Intl.Segmenter("en", { granularity: "word" });

function words(text) {
  const parts = [...segmenter.segment(text)].flatMap(({ segment }) =>
    // Han and Kana character by character: a dictionary may cut the same characters in two ways.
    (/^[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}]+$/u.test(segment) ? [...segment] : [segment]));
  let end = 0;
  return parts.map((part) => ({ text: part, start: end, end: (end += part.length) }))
    .filter((part) => /\S/.test(part.text));
}

function matches(left, right) {
  // The longest common subsequence, as pairs of indices.
  const table = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      const equal = left[i].text === right[j].text;
      table[i][j] = equal ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    if (left[i].text === right[j].text) pairs.push([i++, j++]);
    else if (table[i + 1][j] >= table[i][j + 1]) i++;
    else j++;
  }
  return pairs;
}

function compare(reference, text) {
  // Ranges of the text that the reference lacks, places where it lacks a word itself, indices of words it has.
  const [expected, given] = [words(reference), words(text)];
  const pairs = matches(expected, given);
  const [found, kept, gaps] = [new Set(pairs.map(([i]) => i)), new Set(pairs.map(([, j]) => j)), new Set()];
  let [i, j] = [0, 0];
  for (const [nextI, nextJ] of [...pairs, [expected.length, given.length]]) {
    if (nextI > i && nextJ === j && text) gaps.add(given[nextJ]?.start ?? text.length);
    [i, j] = [nextI + 1, nextJ + 1];
  }
  return { marked: given.filter((_, index) => !kept.has(index)), gaps, found };
}

/* A sentence. */

function write(text, parts, aligned, tag, marked, gaps = new Set()) {
  // The text in its parts; those that may be pointed at are elements, and what differs is marked within them.
  const box = html("dd", { class: text ? "text" : "text empty", dir: "auto" });
  const edges = new Set([...gaps, ...marked.flatMap(({ start, end }) => [start, end])]);
  const gapAt = (place) => (gaps.has(place) ? [html("span", { class: "gap" })] : []);
  let at = 0;
  const elements = parts.map((part) => {
    box.append(...gapAt(at));
    const word = aligned && /\S/.test(part);
    const place = word ? box.appendChild(html("span", { class: "word", tabindex: "-1" })) : box;
    for (const [start, end] = [at, at + part.length]; at < end;) {
      let stop = at + 1;
      while (stop < end && !edges.has(stop)) stop++;
      const piece = text.slice(at, stop);
      const differs = marked.some(({ start, end }) => start <= at && at < end);
      place.append(...(at > start ? gapAt(at) : []), differs ? html(tag, {}, piece) : piece);
      at = stop;
    }
    return place;
  });
  box.append(...gapAt(text.length));
  return { box, elements };
}

function starts(parts) {
  let end = 0;
  return parts.map((part) => (end += part.length) - part.length);
}

function linksOnto(shown, { source, links }) {
  // A system may cut the source otherwise than the one whose cut is shown: its words go where their letters are.
  if (source.length === shown.length && source.every((part, i) => part === shown[i])) return links;
  const [from, onto] = [starts(source), starts(shown)];
  return links.flatMap(([s, t, weight]) => shown.flatMap((part, i) =>
    (onto[i] < from[s] + source[s].length && from[s] < onto[i] + part.length ? [[i, t, weight]] : [])));
}

function drawSentence(sentence) {
  const aligned = sentence.systems.find((system) => system.alignment)?.alignment;
  const shown = aligned ? aligned.source : [sentence.source];
  const differences = sentence.systems.map((system) => compare(sentence.reference, system.text));
  const missed = words(sentence.reference).filter((_, i) => !differences.some(({ found }) => found.has(i)));
  const best = Math.max(...sentence.systems.map((system) => system.chrf));
  const rows = { source: write(sentence.source, shown, aligned, "u", []) };
  const row = (title, text, scores = []) =>
    html("div", {}, html("dt", {}, ...title), text.box, html("dd", { class: "scores" }, ...scores));
  const texts = sentence.systems.map(({ text, alignment, chrf, bleu }, i) => {
    const { marked, gaps } = differences[i];
    rows[i] = write(text, alignment ? alignment.target : [text], alignment, "mark", marked, gaps);
    const chosen = { class: chrf === best && sentence.disagreement > 0 ? "best" : "" };
    return row(mention(names[i]), rows[i],
      ["chrF++ ", html("b", chosen, tenth(chrf)), " BLEU ", html("b", {}, tenth(bleu))]);
  });
  const facts = [`Line ${number(sentence.line)}`, `${number(sentence.words)} word${sentence.words === 1 ? "" : "s"}`];
  if (names.length > 1) facts.push(`disagreement ${tenth(sentence.disagreement)}`);
  const article = html("article", { tabindex: "-1", "aria-label": facts.join(", ") },
    html("h3", {}, facts.join(" · ")),
    html("dl", {},
      row(["Source"], rows.source),
      row(["Reference"], write(sentence.reference, [sentence.reference], false, "u", missed)),
      ...texts));
  for (const [name, { elements }] of Object.entries(rows)) {
    elements.forEach((element, i) => places.set(element, { article, row: name, index: i }));
  }
  const links = sentence.systems.map(({ alignment }) => (alignment ? linksOnto(shown, alignment) : []));
  drawn.set(article, { rows, links });
  return article;
}

/* Alignments: a word lights up its counterparts, by way of the source also those in other translations. */

const places = new WeakMap(); // of a word: its sentence, row and index
const drawn = new WeakMap(); // of a sentence: its rows of words, and links

function light(element, weight) {
  element.classList.add("lit");
  element.dataset.weight = Math.round(weight);
  element.style.setProperty("--strength", Math.max(weight, 15)); // weaker would not be seen
}

function dim() {
  for (const element of list.querySelectorAll(".lit, .here")) element.classList.remove("lit", "here");
}

function lightUp(word) {
  dim();
  const { article, row, index } = places.get(word);
  const { rows, links } = drawn.get(article);
  const sources = new Map(row === "source" ? [[index, 100]] : []);
  for (const [s, t, weight] of links[row] ?? []) if (t === index) sources.set(s, weight);
  word.classList.add("here");
  if (row !== "source") sources.forEach((weight, s) => light(rows.source.elements[s], weight));
  links.forEach((of, system) => {
    const targets = new Map();
    for (const [s, t, weight] of String(system) === row ? [] : of) {
      if (sources.has(s)) targets.set(t, Math.max(targets.get(t) ?? 0, (sources.get(s) * weight) / 100));
    }
    targets.forEach((weight, t) => light(rows[system].elements[t], weight));
  });
}

function lightFrom(target) {
  const word = target?.closest?.(".word") ?? document.activeElement.closest(".word");
  if (word) lightUp(word);
  else dim();
}

/* Which sentences are shown, and in which order. */

const RANGES = { words: "Words", line: "Lines", score: "chrF++", disagreement: "Disagreement" };
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
