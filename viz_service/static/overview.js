// The overview: fetches and shows everything, every few seconds while the page is visible and not paused.
import { element, format, get, onTheme, plural, reason, replace, t, time } from "./core.js";
import { charts } from "./charts.js";
import { showPicture } from "./picture.js";
import { fill, showWhatIf } from "./whatif.js";

const refreshMs = Number(document.body.dataset.refreshSeconds) * 1000;
const threshold = Number(document.body.dataset.threshold);
const at = (id) => document.getElementById(id);
const [picture, pause, updated] = ["picture", "pause", "updated"].map(at);
let top = null;
// The data embedded in the page, for the first update.
let known = JSON.parse(at("overview-script").dataset.known ?? "null");

// Format of a value inside a note, by its path.
const NOTES = {
  "llm.cost_per_accepted": "cost",
  "scores.median": "score",
  threshold: "threshold",
  "total_processing_time_ms.p95": "duration",
};
// Alerts about conditions that follow from settings: shown as warnings.
const TOLERABLE = new Set(["max-retries", "budget-used-up", "provider-limited"]);
const PROVIDER_DOTS = { open: "accepted", limited: "below", unavailable: "failed" };
const lookUp = (path, values) => path.split(".").reduce((part, key) => part?.[key], values);

function showNumbers(statistics, pipeline) {
  const { answers } = statistics;
  const of = (count) => (answers.total ? count / answers.total : null);
  const values = {
    ...statistics,
    accepted: { share: of(answers.accepted) },
    cache: { share: pipeline.cache_hit_rate },
  };
  for (const target of document.querySelectorAll("[data-value]")) {
    target.textContent = format(target.dataset.format, lookUp(target.dataset.value, values));
  }
  for (const target of document.querySelectorAll("[data-note]")) {
    const gaps = [...globalThis.TEXTS[target.dataset.note].matchAll(/\{([\w.]+)\}/g)].map(([, path]) => path);
    const written = gaps.map((path) => [path, format(NOTES[path] ?? "count", lookUp(path, values))]);
    target.textContent = t(target.dataset.note, Object.fromEntries(written));
    if ("optional" in target.dataset) target.hidden = gaps.some((path) => lookUp(path, values) === null);
  }
  const selfChecked = answers.self_check_accepted + answers.self_check_max_retries_reached;
  at("self-check").hidden = !selfChecked;
  const accepted = statistics.attempts.filter((each) => each.accepted > 0);
  fill(at("accepted-stack"), [
    ...accepted.map((each) => [`accepted-${Math.min(each.attempts, 3)}`, each.accepted]),
    ["below", answers.max_retries_reached],
    ["unknown", selfChecked + answers.unscored],
  ]);
  const shares = accepted.map((each) => `${each.attempts}: ${format("share", of(each.accepted))}`).join(" · ");
  const below = answers.max_retries_reached - answers.rejected_by_judge;
  const notes = [
    shares && t("numbers.accepted.note", { shares }),
    below && t("numbers.accepted.rest", { below: format("share", of(below)) }),
    answers.rejected_by_judge && t("numbers.accepted.judge", { rejected: format("count", answers.rejected_by_judge) }),
    selfChecked &&
      t("numbers.accepted.self_check", {
        count: format("count", selfChecked),
        agreeing: format("count", answers.self_check_accepted),
        disagreeing: format("count", answers.self_check_max_retries_reached),
      }),
    answers.unscored && t("numbers.accepted.unscored", { unscored: format("share", of(answers.unscored)) }),
  ];
  at("accepted-note").textContent = notes.filter(Boolean).join(" · ");
}

// Amount used and limit, for each limit of the day's budget that is reached.
function budgetText(values) {
  const spent = [
    ["tokens", "count"],
    ["cost", "cost"],
  ]
    .filter(([unit]) => `budget_${unit}` in values)
    .map(([unit, kind]) =>
      t(`budget.${unit}`, {
        spent: format(kind, values[`spent_${unit}`]),
        budget: format(kind, values[`budget_${unit}`]),
      }),
    );
  return t("alert.budget-used-up", { spent: spent.join(", "), time: time("short", values.resumes_at) });
}

// Name of a provider: its address without scheme, and without a key that it may contain.
function providerName(address) {
  if (!URL.canParse(address)) return address;
  const { host, pathname } = new URL(address);
  return host + pathname.replace(/\/$/, "");
}

const HALF_A_DAY_MS = 12 * 3600 * 1000;
const until = ({ waiting_until: moment }) =>
  moment ? time(new Date(moment) - Date.now() < HALF_A_DAY_MS ? "time" : "short", moment) : format("count", null);

// The limits of a provider, and its calls in the last minute.
function providerFacts(status) {
  const number = (value) => format(Number.isInteger(value) ? "count" : "rate", value);
  const limits = [
    status.requests_per_minute && t("provider.requests", { count: number(status.requests_per_minute) }),
    status.tokens_per_minute && t("provider.tokens", { count: number(status.tokens_per_minute) }),
  ].filter(Boolean);
  const limit = limits.length && [
    t("provider.limit", { limits: limits.join(", ") }),
    ...(status.limit_source ? [t(`provider.source.${status.limit_source}`)] : []),
  ];
  const calls = [
    plural("provider.calls", status.calls_last_minute),
    ...(status.refused_last_minute ? [plural("provider.refused", status.refused_last_minute)] : []),
  ];
  return [limit, calls].filter(Boolean).map((parts) => parts.join(", "));
}

function providerText(kind, values) {
  const facts = [
    kind === "provider-limited" && values.cause && t(`cause.${values.cause}`),
    ...providerFacts(values),
    values.message && t("why.said", { detail: values.message }),
  ];
  return t(`alert.${kind}`, {
    provider: providerName(values.provider),
    time: until(values),
    facts: facts.filter(Boolean).join(" · "),
  });
}

function alertText({ kind, values }) {
  if (kind === "budget-used-up") return budgetText(values);
  if (kind.startsWith("provider-")) return providerText(kind, values);
  const hours = kind === "pending-long" && { hours: format("rate", values.seconds / 3600) };
  const why = values.why && { reason: reason({ kind: values.why, detail: values.detail }) };
  const written = Object.entries(values).map(([name, value]) => [
    name,
    typeof value === "number" ? format(name === "share" || name === "limit" ? "share" : "count", value) : value,
  ]);
  return t(`alert.${kind}`, { ...Object.fromEntries(written), ...hours, ...why });
}

function cells(...texts) {
  const row = element("tr");
  row.append(...texts.map((text, index) => (index ? element("td", "number", text) : element("th", "", text))));
  row.firstChild.scope = "row";
  return row;
}

function showPipeline(pipeline) {
  replace(
    at("alerts"),
    pipeline.alerts.map((each) =>
      element("li", `banner ${TOLERABLE.has(each.kind) ? "below" : "failed"}`, alertText(each)),
    ),
  );
  showPicture(picture, pipeline);

  const { waiting } = pipeline;
  const count = (value) => format("count", value);
  at("waiting-total").textContent = !waiting
    ? t(pipeline.kafka_error ? "waiting.unknown" : "waiting.not_yet")
    : waiting.overload + waiting.quota
      ? t("waiting.total", {
          count: count(waiting.overload + waiting.quota),
          overload: count(waiting.overload),
          quota: count(waiting.quota),
        })
      : t("waiting.none");
  replace(
    at("waiting"),
    (waiting?.next ?? []).map((each) => {
      const item = element("li");
      const link = element("a", "", each.question_text);
      link.href = `/questions/${each.question_id}`;
      item.append(
        element("span", "tag pending", t(`error.${each.type}`)),
        " ",
        t("waiting.due", { time: time("time", each.due_at) }),
        element("br"),
        link,
      );
      return item;
    }),
  );

  replace(
    at("groups"),
    pipeline.groups.map((each) => {
      const row = cells(each.name, each.members === null ? "–" : count(each.members), count(each.lag));
      if (each.name === "score-validator") {
        // Flink's group has no members, because Flink assigns partitions itself.
        row.cells[0].textContent = "score-validator (Flink)";
        row.cells[1].textContent = "–";
        row.title = t("groups.by_checkpoint");
      }
      return row;
    }),
  );

  const services = pipeline.services.map((each) => {
    const item = element("li");
    const state = each.healthy
      ? plural("services.instances", each.instances)
      : t("services.unhealthy", { reason: reason(each.why) });
    item.append(
      element("span", `dot ${each.healthy ? "accepted" : "failed"}`),
      element("span", "", each.name),
      element("span", "muted", state),
    );
    return item;
  });
  const job = pipeline.flink;
  if (job || pipeline.flink_error) {
    const item = element("li");
    const state = pipeline.flink_error
      ? reason(pipeline.flink_error)
      : `${job.state ?? t("services.no_job")} · ${t("services.tasks", { running: count(job.tasks_running), total: count(job.tasks) })}`;
    item.append(
      element("span", `dot ${job?.working ? "accepted" : "failed"}`),
      element("span", "", t("way.job")),
      element("span", "muted", state),
    );
    services.push(item);
  }
  replace(at("services"), services.length ? services : [element("li", "muted", t("services.none"))]);

  at("providers-part").hidden = !pipeline.providers.length;
  replace(
    at("providers"),
    pipeline.providers.map((each) => {
      const item = element("li");
      const state = t(`provider.${each.state}`, { time: until(each) });
      item.append(
        element("span", `dot ${PROVIDER_DOTS[each.state]}`),
        element("span", "", providerName(each.provider)),
        element("span", "muted", [state, ...providerFacts(each)].join(" · ")),
      );
      return item;
    }),
  );

  replace(
    at("topics"),
    pipeline.topics.map((each) => {
      const row = cells(
        each.name,
        each.group ?? t("topics.nobody"),
        each.group ? count(each.lag) : "–",
        format("rate", each.rate),
        count(each.messages),
      );
      row.cells[1].className = "";
      return row;
    }),
  );
}

function showTop() {
  const kind = document.querySelector("[name=top]:checked").value;
  const rows = top?.[kind] ?? [];
  at("top-table").hidden = !rows.length;
  at("top-none").hidden = rows.length > 0;
  at("top-none").textContent = t("top.none");
  replace(
    at("top"),
    rows.map((question) => {
      const row = at("top-row").content.cloneNode(true).firstElementChild;
      const [name, state, score, attempts, asked] = row.cells;
      name.firstChild.textContent = question.question_text;
      name.firstChild.href = `/questions/${question.question_id}`;
      const tone = question.quality ?? question.status;
      const rejected = question.status === "completed" && question.rejected_by === "judge";
      state.firstChild.textContent = rejected ? t("state.rejected_by_judge") : t(`state.${tone}`);
      state.firstChild.classList.add(tone);
      score.textContent = format("score", question.bert_score);
      if (question.bert_score !== null && !question.quality.startsWith("self_check"))
        score.classList.add("score", question.bert_score < threshold ? "below" : "accepted");
      attempts.textContent = format("count", question.processing_attempts);
      asked.textContent = format("count", question.times_asked);
      return row;
    }),
  );
}

function setState(state, problem = "") {
  // Written only when it changes, because screen readers announce each change.
  document.body.dataset.state = state;
  const text = t(`state.${state}`);
  if (at("state").textContent !== text) at("state").textContent = text;
  if (at("problem").textContent !== problem) at("problem").textContent = problem;
  at("problem").hidden = !problem;
}

function nothingToShow() {
  for (const each of [...document.querySelectorAll(".placeholder"), at("what-if-base")])
    each.textContent = t("problem.none");
}

async function update() {
  const seen = Boolean(updated.dateTime);
  try {
    const showCharts = charts(document.querySelector("[name=span]:checked").value);
    const overview = known ?? (await get("/api/overview"));
    known = null;
    showPipeline(overview.pipeline);
    const now = new Date();
    updated.dateTime = now.toISOString();
    updated.textContent = time("time", now);
    if (overview.statistics) {
      showNumbers(overview.statistics, overview.pipeline);
      top = overview.top;
      showTop();
      setState(paused() ? "paused" : "live");
      await showCharts();
      // The slider's numbers follow the data, except while it is dragged.
      if (!at("threshold").matches(":active")) await showWhatIf();
      setState(paused() ? "paused" : "live");
    } else {
      // The alert shows the reason; the shown statistics are from an earlier update.
      if (!top) nothingToShow();
      setState("stale");
    }
  } catch (error) {
    if (!seen) nothingToShow();
    const next = t("problem.next", { seconds: format("count", refreshMs / 1000) });
    setState("stale", `${error.message.replace(/\.?$/, ".")} ${t(seen ? "problem.old" : "problem.none")} ${next}`);
  }
}

const paused = () => pause.getAttribute("aria-pressed") === "true";
let timer;
let running = false;
let again = false;

// One update at a time; a request during an update runs another one immediately afterwards.
async function loop() {
  clearTimeout(timer);
  if (running) {
    again = true;
    return;
  }
  running = true;
  do {
    again = false;
    await update();
  } while (again);
  running = false;
  schedule();
}

function schedule() {
  clearTimeout(timer);
  // A hidden page sends no requests; it updates when it is visible again.
  if (!paused() && !document.hidden) timer = setTimeout(loop, refreshMs);
}

pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!paused()));
  pause.textContent = t(paused() ? "live.resume" : "live.pause");
  if (paused()) {
    clearTimeout(timer);
    setState("paused");
  } else {
    loop();
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused()) loop();
});
at("span").addEventListener("change", loop);
at("top-kind").addEventListener("change", showTop);
onTheme(loop);
new ResizeObserver(() => showPicture(picture)).observe(picture);
loop();
