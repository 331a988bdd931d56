"use strict";
const COLORS = ["#118dff", "#d64550", "#12239e", "#e66c37", "#6b007b", "#e044a7"];
const pages = JSON.parse(document.getElementById("data").textContent);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function axis(values) {
  return { type: "category", data: values, axisTick: { show: false }, axisLine: { lineStyle: { color: "#c8c6c4" } } };
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
  const values = { type: "value", axisLabel: { formatter, hideOverlap: true }, splitLine: { lineStyle: { color: "#edebe9" } } };
  const names = axis(visual.categories);
  if (across) {
    names.inverse = true;
    names.axisLabel = { width: 130, overflow: "truncate" };
  }
  const second = { type: "value", min: 0, axisLabel: { formatter: percent }, splitLine: { show: false } };
  return {
    color: COLORS,
    animation: false,
    textStyle: { fontFamily: "Segoe UI, system-ui, sans-serif" },
    grid: { left: 8, right: 16, top: visual.series.length > 1 ? 30 : 12, bottom: 4, containLabel: true },
    legend: visual.series.length > 1 ? { top: 0, left: 0, itemHeight: 9, itemWidth: 14, type: "scroll" } : undefined,
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
    visualMap: { show: false, min: 0, max: Math.max(1, ...cells.map((cell) => cell[2])), inRange: { color: ["#ffffff", "#118dff"] } },
    series: [{ type: "heatmap", data: cells.filter((cell) => cell[2]), label: { show: true, fontSize: 9, color: "#252423" } }],
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
  if (visual.kind === "actionButton") return box.append(element("span", "", "←"));
  box.append(element("h3", "", visual.title));
  if (visual.heads) return box.append(visual.texts.length ? tableOf(visual) : element("p", "nothing", "Nothing to show"));
  if (visual.categories && !visual.categories.length) return box.append(element("p", "nothing", "Nothing to show"));
  const place = box.appendChild(element("div", "chart"));
  later.push(() => echarts.init(place).setOption(visual.cells ? heatOption(visual) : chartOption(visual)));
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
later.forEach((go) => go());
