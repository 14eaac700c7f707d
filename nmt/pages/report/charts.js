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
