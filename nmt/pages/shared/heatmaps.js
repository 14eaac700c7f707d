/* A system's heatmaps of a sentence, of the readings that are chosen in a form. */

const MOST_LABELLED = 6; // heatmaps of a run and sentence; where there are more, they are small and have no labels

function percent(share) {
  return `${tenth(100 * share)} %`;
}

function option(value, title) {
  return html("option", { value }, title);
}

function offerReadings({ layer, head, shift }) {
  const most = (key) => Math.max(...data.systems.map((system) => system[key]));
  const upTo = (count) => [...Array(count).keys()].map((i) => option(i + 1, String(i + 1)));
  layer.append(option("own", "as the links are read"), ...upTo(most("layers")), option("all", "all"));
  head.append(option("mean", "mean"), ...upTo(most("heads")), option("all", "all"));
  for (const select of [layer, head, shift]) select.parentElement.hidden = !most("layers");
  if (most("heads") < 2) head.parentElement.hidden = true;
}

function readingsChosen({ units, layer, head, shift }) {
  // What heatmaps are drawn by, as a text; what links are read from has neither head nor step to choose.
  head.disabled = shift.disabled = layer.value === "own";
  return [units, layer, head, shift].map(({ value }) => value).join();
}

function readingsShown(system, { layer, head, shift }) {
  // Places in the system's readings; the first where it has not what is asked for.
  if (layer.value === "own") return [0];
  const wanted = system.readings.flatMap((reading, place) => {
    const headOf = reading.head === null ? "mean" : String(reading.head);
    const chosen = reading.shift === Number(shift.value) && ["all", String(reading.layer)].includes(layer.value)
      && ["all", headOf].includes(head.value);
    return chosen ? [place] : [];
  });
  return wanted.length ? wanted : [0];
}

function drawHeatmap(panel, heading, about) {
  const caption = html("figcaption", {}, html("span", {}, ...heading), html("span", { class: "value" }),
    ...about.map((text) => html("span", { class: "about" }, text)));
  return html("figure", {}, caption, html("div", { class: "heatmap" }, panel));
}

function drawSystem(index, part, { words, lines, gold }, chosen) {
  // part: what the sentence has of the system. Where it judges its readings, links stand on the heatmaps.
  const system = data.systems[index];
  const places = readingsShown(system, chosen);
  const small = places.length > 1 && data.systems.some((each) => readingsShown(each, chosen).length > MOST_LABELLED);
  const instead = chosen.layer.value !== "own" && places[0] === 0 && system.layers;
  const figures = places.map((place) => {
    const [reading, judged] = [system.readings[place], part.readings?.[place]];
    const grid = gridOf(system, part, words, reading, chosen.units.value === "words");
    const marks = judged ? { words, links: judged.links, sure: "", possible: "", ...gold } : null;
    const panel = drawPanel(grid, lines, `${names[index]}, ${reading.name}`, !small, marks);
    const facts = judged ? [worthOf(judged)] : [];
    if (small) return drawHeatmap(panel, [reading.name.replace(/ of heads|, shift \d$/g, "")], facts);
    const remark = [system.reverse ? " (reverse)" : "", instead ? " (as its links are read)" : ""];
    return drawHeatmap(panel, [...mention(names[index]), ...remark], [reading.name, ...facts]);
  });
  if (!small) return figures;
  const box = html("div", { class: "small-panels" }, html("h4", {}, ...mention(names[index])), ...figures);
  const everyHead = chosen.head.value === "all" && system.heads > 1;
  box.style.setProperty("--columns", everyHead ? system.heads + 1 : places.length); // a line for each layer
  return [box];
}

function worthOf({ error, crossing }) {
  return [...(error === null ? [] : [`error ${percent(error)}`]), `crossing ${percent(crossing)}`].join(", ");
}
