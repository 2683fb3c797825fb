// The live diagram: services as boxes, topics as pills, in a wide and in a tall layout.
import { format, reason, t } from "./core.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDE_FROM = 900; // pixels; below, texts of the wide layout would be too small to read

const TOPICS = {
  pending: "questions-pending",
  success: "llm-responses-success",
  overload: "llm-responses-error-overload",
  quota: "llm-responses-error-quota",
  validated: "validated-responses",
  low: "low-quality-responses",
  permanent: "llm-responses-error-permanent",
};
const SERVICES = {
  storage: "storage-service",
  consumer: "llm-consumer",
  flink: null, // its state is that of the job
  scorer: "score-validator",
  retryOverload: "retry-overload-consumer",
  retryQuota: "retry-quota-consumer",
  writer: "storage-writer",
  stores: null,
};

// Nodes have their centres; an edge has a path and the topic whose messages it shows (null: none).
// prettier-ignore
const WIDE = {
  size: [1264, 372],
  service: [134, 52],
  topic: [158, 48],
  short: false,
  nodes: {
    storage: [77, 104], pending: [266, 104], consumer: [450, 104], success: [640, 104], flink: [826, 104],
    validated: [1004, 104], writer: [1166, 104],
    overload: [352, 212, 206], quota: [564, 212, 186], retryOverload: [352, 284, 188], retryQuota: [564, 284, 164],
    scorer: [826, 212], low: [1004, 212], permanent: [826, 340, 214], stores: [1166, 212],
  },
  edges: [
    ["M144 104H183", "pending"], ["M345 104H379", "pending"], ["M517 104H557", "success"], ["M719 104H755", "success"],
    ["M893 104H921", "validated"], ["M1083 104H1095", "validated"], ["M1166 130V182", null],
    ["M826 78V30H266V76", "again", "below"],
    ["M430 130V160H352V184", "overload"], ["M470 130V160H564V184", "quota"],
    ["M352 236V254", "overload"], ["M564 236V254", "quota"],
    ["M352 310V340H222V132", "due"], ["M564 310V340H352", "due", "", true], ["M564 340H715", "permanent"],
    ["M933 340H1252V104H1237", "permanent"], ["M826 130V182", null], ["M884 130V150H1004V184", "low", "below"], ["M1083 212H1091V158H1140V134", "low", "below"],
  ],
  labels: [[546, 22, "way.again", "below"], [230, 357, "way.due", "", "start"], [590, 357, "way.given_up", "", "start"]],
};
// prettier-ignore
const TALL = {
  size: [344, 650],
  service: [150, 46],
  topic: [156, 44],
  short: true,
  nodes: {
    storage: [92, 34], pending: [92, 112], consumer: [92, 196], success: [92, 280], flink: [92, 364],
    validated: [92, 448], writer: [92, 532], stores: [92, 616],
    retryOverload: [258, 90], retryQuota: [258, 142], overload: [258, 208], quota: [258, 262],
    scorer: [258, 340], low: [258, 400], permanent: [258, 476],
  },
  edges: [
    ["M92 57V86", "pending"], ["M92 134V169", "pending"], ["M92 219V254", "success"], ["M92 302V337", "success"],
    ["M92 387V422", "validated"], ["M92 470V505", "validated"], ["M92 555V589", null],
    ["M17 364H6V112H10", "again", "below"],
    ["M167 196H176V208", "overload"], ["M167 196H176V262", "quota"],
    ["M336 208H341V90H337", "overload"], ["M336 262H341V142H337", "quota"],
    ["M183 90H176V112H174", "due"], ["M183 142H176V112", "due", "", true],
    ["M258 498V532H171", "permanent"], ["M167 350H182", null], ["M167 376H174V400H178", "low", "below"], ["M336 400H341V546H171", "low", "below"],
  ],
  labels: [],
};

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function topicState(topic) {
  if (!topic || (topic.lag === null && topic.messages === null)) return ["unknown", t("way.unknown")];
  // A group that has not started has no lag yet, although messages may arrive.
  const lag = topic.group
    ? topic.lag !== null && t("way.waiting", { lag: format("count", topic.lag) })
    : t("way.record", { messages: format("count", topic.messages) });
  const rate = topic.rate !== null && t("way.rate", { rate: format("rate", topic.rate) });
  const state = !topic.group ? "record" : topic.stalled ? "failed" : topic.lag ? "pending" : "calm";
  return [state, [lag, rate].filter(Boolean).join(" · ") || t("way.unknown")];
}

function serviceState(key, pipeline) {
  if (key === "stores") return ["calm", "PostgreSQL, Redis"];
  if (key === "flink") {
    if (pipeline.flink_error) return ["failed", reason(pipeline.flink_error)];
    if (!pipeline.flink) return ["unknown", t("way.unknown")];
    return [pipeline.flink.working ? "calm" : "failed", pipeline.flink.state ?? t("services.no_job")];
  }
  const service = pipeline.services.find((each) => each.name === SERVICES[key]);
  if (!service) return ["unknown", t("way.unknown")];
  const count = service.instances > 1 ? ` ×${service.instances}` : "";
  return service.healthy ? ["calm", t("services.healthy") + count] : ["failed", reason(service.why)];
}

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function node(key, layout, pipeline) {
  const [x, y, wanted] = layout.nodes[key];
  const isTopic = key in TOPICS;
  const [width, height] = isTopic
    ? [wanted ?? layout.topic[0], layout.topic[1]]
    : [wanted ?? layout.service[0], layout.service[1]];
  const topic = isTopic && pipeline.topics.find((each) => each.name === TOPICS[key]);
  const [state, detail] = isTopic ? topicState(topic) : serviceState(key, pipeline);
  const full = isTopic
    ? TOPICS[key]
    : key === "flink"
      ? t("way.job")
      : key === "stores"
        ? t("way.stores")
        : SERVICES[key];
  const name = layout.short ? full.replace(/^llm-responses-/, "…").replace(/^(retry-\w+)-consumer$/, "$1") : full;
  return svg(
    "g",
    { class: `node ${isTopic ? "topic" : "service"} ${state}`, "data-node": full },
    svg("title", {}, `${full}: ${detail}`),
    svg("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: isTopic ? height / 2 : 8 }),
    svg("text", { x, y: y - 4, class: "name" }, name),
    svg("text", { x, y: y + 13, class: "detail" }, cut(detail, Math.floor(width / 6.4))),
  );
}

function flowing(kind, rates) {
  // An answer below the threshold takes both edges: it is recorded, and usually asked again. An error returns when due.
  if (kind === "again") return rates["low-quality-responses"] > 0;
  if (kind === "due") return rates["llm-responses-error-overload"] > 0 || rates["llm-responses-error-quota"] > 0;
  return kind !== null && rates[TOPICS[kind]] > 0;
}

function draw(layout, pipeline) {
  const rates = Object.fromEntries(pipeline.topics.map((each) => [each.name, each.rate ?? 0]));
  const head = svg(
    "marker",
    {
      id: "head",
      viewBox: "0 0 8 8",
      refX: 7,
      refY: 4,
      markerWidth: 9,
      markerHeight: 9,
      markerUnits: "userSpaceOnUse",
      orient: "auto-start-reverse",
    },
    svg("path", { d: "M0 0L8 4L0 8Z" }),
  );
  const edges = layout.edges.map(([d, kind, tone = "", bare = false]) =>
    svg("path", {
      d,
      class: `edge ${tone} ${flowing(kind, rates) ? "flowing" : ""}`,
      ...(bare ? {} : { "marker-end": "url(#head)" }),
    }),
  );
  const labels = layout.labels.map(([x, y, key, tone, anchor = "middle"]) =>
    svg("text", { x, y, class: `label ${tone}`, "text-anchor": anchor }, t(key)),
  );
  const nodes = Object.keys(layout.nodes).map((key) => node(key, layout, pipeline));
  return svg(
    "svg",
    { viewBox: `0 0 ${layout.size.join(" ")}`, "aria-hidden": "true", focusable: "false" },
    svg("defs", {}, head),
    ...edges,
    ...labels,
    ...nodes,
  );
}

let seen = null;

// Draws the diagram; without a state it redraws the last one.
export function showPicture(place, pipeline = seen) {
  if (!pipeline) return;
  seen = pipeline;
  const wide = place.clientWidth >= WIDE_FROM;
  place.classList.toggle("tall", !wide);
  const made = draw(wide ? WIDE : TALL, pipeline);
  // An unchanged diagram is not replaced, so that its animation continues.
  if (!place.firstElementChild?.isEqualNode(made)) place.replaceChildren(made);
}
