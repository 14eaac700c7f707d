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
      ...texts),
    ...(hasHeatmaps(sentence) ? [offerHeatmaps(sentence, rows.source.box, names.map((_, i) => rows[i].box))] : []));
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

function dimWords() {
  for (const element of list.querySelectorAll(".lit, .here")) element.classList.remove("lit", "here");
}

function lightUp(word) {
  dimWords();
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
  else dimWords();
}
