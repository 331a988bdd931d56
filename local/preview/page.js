"use strict";
const DARK = matchMedia("(prefers-color-scheme: dark)");
const ON_LIGHT = ["#118dff", "#d64550", "#12239e", "#e66c37", "#6b007b", "#e044a7"];
const ON_DARK = ["#4aa8ff", "#f1707b", "#9aa5ff", "#f09a6c", "#c58af9", "#f28bc8"];
const pages = JSON.parse(document.getElementById("data").textContent);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function shade(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
}

function label(more) {
  return { color: shade("quiet"), hideOverlap: true, ...more };
}

function axis(values) {
  return { type: "category", data: values, axisLabel: label(), axisTick: { show: false }, axisLine: { lineStyle: { color: shade("axis") } } };
}

function percent(value) {
  return `${Number((value * 100).toFixed(1))}%`;
}

function chartOption(visual) {
  const across = visual.kind === "clusteredBarChart";
  const combined = visual.kind === "lineClusteredColumnComboChart";
  const shares = new Set(visual.percent);
  const isLine = (at) => visual.kind === "lineChart" || (combined && at === visual.series.length - 1);
  const formatter = visual.series.every((one) => shares.has(one.name)) ? percent : undefined;
  const whole = visual.series.every((one) => shares.has(one.name) ? combined : one.values.every((value) => Number.isInteger(value ?? 0)));
  const values = { type: "value", minInterval: whole ? 1 : 0, axisLabel: label({ formatter }), splitLine: { lineStyle: { color: shade("faint") } } };
  const names = axis(visual.categories);
  if (across) {
    names.inverse = true;
    names.axisLabel = { ...label(), hideOverlap: false, width: 130, overflow: "truncate" };
  }
  const second = { type: "value", min: 0, axisLabel: label({ formatter: percent }), splitLine: { show: false } };
  return {
    color: DARK.matches ? ON_DARK : ON_LIGHT,
    animation: false,
    textStyle: { fontFamily: "Segoe UI, system-ui, sans-serif" },
    grid: { left: 8, right: 16, top: visual.series.length > 1 ? 30 : 12, bottom: 4, containLabel: true },
    legend: visual.series.length > 1 ? { top: 0, left: 0, itemHeight: 9, itemWidth: 14, type: "scroll", textStyle: { color: shade("ink") }, pageTextStyle: { color: shade("quiet") } } : undefined,
    tooltip: { trigger: "axis", renderMode: "richText", confine: true },
    xAxis: across ? values : names,
    yAxis: across ? names : combined ? [values, second] : values,
    series: visual.series.map((one, at) => ({
      name: one.name,
      type: isLine(at) ? "line" : "bar",
      yAxisIndex: combined && isLine(at) ? 1 : 0,
      data: one.values,
      connectNulls: true,
      symbolSize: 4,
      barMaxWidth: 18,
    })),
  };
}

function heatOption(visual) {
  const cells = visual.cells.flatMap((row, y) => row.map((value, x) => [x, y, value ?? 0]));
  const down = { ...axis(visual.rows), inverse: true };
  return {
    animation: false,
    grid: { left: 8, right: 8, top: 4, bottom: 4, containLabel: true },
    xAxis: axis(visual.across),
    yAxis: down,
    visualMap: { show: false, min: 0, max: Math.max(1, ...cells.map((cell) => cell[2])), inRange: { color: [shade("paper"), shade("heat")] } },
    series: [{ type: "heatmap", data: cells.filter((cell) => cell[2]), label: { show: true, fontSize: 9, color: shade("ink") } }],
  };
}

function tableOf(visual) {
  const box = element("div", "rows");
  const table = box.appendChild(element("table"));
  const isNumber = visual.heads.map((_, at) => visual.texts.every((row) => row[at] === "" || /^-?[\d,.]+%?$/.test(row[at])));
  const add = (row, name, texts) => texts.forEach((text, at) => {
    const cell = row.appendChild(element(name, isNumber[at] ? "number" : "", text));
    cell.title = text;
  });
  add(table.createTHead().insertRow(), "th", visual.heads);
  const body = table.createTBody();
  visual.texts.forEach((texts) => add(body.insertRow(), "td", texts));
  if (visual.more) body.insertRow().appendChild(element("td", "", `and ${visual.more} more`)).colSpan = visual.heads.length;
  return box;
}

function slicer(visual, box) {
  box.classList.add("slicer");
  box.append(element("b", "", visual.title), element("span", "", "All"));
}

function cards(visual, box) {
  box.classList.add("cards");
  for (const [name, value] of visual.cards) {
    const card = box.appendChild(element("div", value.length > 12 ? "card long" : "card"));
    card.append(element("b", "", value || "–"), element("span", "", name));
  }
}

function draw(visual, section, later) {
  const name = visual.kind === "textbox" ? "h2" : "div";
  const box = section.appendChild(element(name, name === "div" ? "visual" : "", name === "h2" ? visual.title : undefined));
  Object.assign(box.style, { left: `${visual.x}px`, top: `${visual.y}px`, width: `${visual.width}px`, height: `${visual.height}px` });
  if (visual.kind === "slicer") return slicer(visual, box);
  if (visual.kind === "cardVisual") return cards(visual, box);
  if (name === "h2") return undefined;
  if (visual.kind === "actionButton") {
    box.classList.add("back");
    return box.append(element("span", "", "←"));
  }
  box.append(element("h3", "", visual.title));
  if (visual.heads) return box.append(visual.texts.length ? tableOf(visual) : element("p", "nothing", "Nothing to show"));
  if (visual.categories && !visual.categories.length) return box.append(element("p", "nothing", "Nothing to show"));
  const place = box.appendChild(element("div", "chart"));
  later.push({ place, visual });
  return undefined;
}

const later = [];
pages.forEach((page, number) => {
  const link = element("a", "", page.title);
  link.href = `#page${number}`;
  document.querySelector("nav").append(link);
  const section = document.querySelector("main").appendChild(element("section"));
  section.id = `page${number}`;
  if (page.about) section.append(element("span", "about", `Drilled through with run ${page.about}`));
  page.visuals.forEach((visual) => draw(visual, section, later));
});
const charts = later.map(({ place, visual }) => {
  const chart = echarts.init(place, null, { renderer: "svg" });
  return { chart, show: () => chart.setOption(visual.cells ? heatOption(visual) : chartOption(visual), true) };
});
const show = () => charts.forEach((one) => one.show());
show();
DARK.addEventListener("change", show);
addEventListener("resize", () => charts.forEach((one) => one.chart.resize()));
