// Asks a question and shows its progress until it is final.
import { part, post, t } from "./core.js";
import { follow } from "./live.js";

const form = document.getElementById("ask");
const button = form.querySelector("[type=submit]");
const problem = document.getElementById("ask-problem");
const said = document.getElementById("ask-said");
const place = document.getElementById("followed");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  button.disabled = true;
  try {
    const fields = [...new FormData(form)].filter(([, text]) => text.trim());
    const reply = await post("/api/ask", Object.fromEntries(fields));
    said.textContent = t(reply.status === "completed" ? "ask.known" : "ask.sent");
    const address = `/questions/${reply.question_id}`;
    const shown = await part(address, "question");
    if (!shown) throw new Error(t("problem.none"));
    place.replaceChildren(shown);
    place.hidden = false;
    place.scrollIntoView({ block: "nearest" });
    if (shown.dataset.status === "pending") {
      follow(shown, address, () => {
        said.textContent = t("ask.done");
      });
    }
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
  button.disabled = false;
});
