(() => {
  // an answer: what is chosen, all of it, a token of it or a passage of the text, shades the conversation
  const told = JSON.parse(document.getElementById("told").textContent);
  const explorer = document.querySelector(".explorer"), talk = explorer.querySelector(".talk");
  const asked = talk.querySelector(".asked"), folds = [...talk.querySelectorAll(".fold")];
  const tokens = [...talk.querySelectorAll(".t")]; // in their order: one for each position of the text
  const place = new Map(tokens.map((element, t) => [element, t]));
  const apart = new Set(told.sinks);
  const LISTED = 8, NAMED = 3;

  // terms in 16 bits, little-endian as every machine's that shows pages; an account tells of all tokens before its own
  const unpacked = ({ scales, packed }, stops) => {
    const terms = new Int16Array(Uint8Array.from(atob(packed), (c) => c.charCodeAt(0)).buffer);
    let at = 0;
    return scales.map((scale, i) => Float64Array.from(terms.subarray(at, (at += stops[i])), (term) => term * scale));
  };
  const stops = told.said.map((_, i) => told.prompt + i);
  const likely = unpacked(told.terms, stops);
  const close = stops.map((_, i) => i).filter((i) => told.said[i].over !== null);
  const over = new Map(unpacked(told.tipped, close.map((i) => stops[i])).map((row, n) => [close[n], row]));
  for (const { of, starts } of told.units.map((each) => Object.assign(each, { starts: [] }))) {
    of.forEach((passage, t) => (starts[passage] ??= t));
  }
  const whole = new Float64Array(tokens.length);
  for (const row of likely) row.forEach((term, t) => (whole[t] += term));

  // what is chosen: nothing (the whole answer), or a token; what is asked of it; whether all of a list is shown
  let unit = told.units[told.unit], chosen, question = "likely", opened = false, seen;

  const signed = (value) => (value <= -0.005 ? "-" : "+") + Math.abs(value).toFixed(2);
  const worth = (value) => Math.abs(value) >= 0.005;
  const many = (n) => `${n} ${n === 1 ? "other" : "others"}`;
  const word = (text) => make("bdi", { className: "word", textContent: text });
  // a text, a token, a text, ...
  const phrase = (parts) => parts.map((part, i) => (i % 2 ? word(part) : part));
  const shown = (t) => told.tokens[t];
  const total = (row, of) => row.reduce((sum, term, t) => (of(t) ? sum + term : sum), 0);
  const sums = (row) => {
    const found = new Map();
    row.forEach((term, t) => {
      if (!apart.has(t)) found.set(unit.of[t], (found.get(unit.of[t]) ?? 0) + term);
    });
    return found;
  };
  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  // what is seen of a choice: a value for every token, a title, what gave or got most, and what stands beside
  const sources = (row, stop) => {
    const found = sums(row);
    const values = tokens.map((_, t) => (t < stop && !apart.has(t) ? found.get(unit.of[t]) : undefined));
    const list = [...found].filter(([passage]) => passage < unit.own)
      .map(([passage, value]) => ({ name: unit.labels[passage], value, from: unit.starts[passage] }));
    return { values, list, full: largest([...found.values()]) };
  };
  const beside = (row, facts) => [
    ["template", total(row, (t) => unit.of[t] >= unit.own && !apart.has(t))],
    ["shared by all", total(row, (t) => apart.has(t))],
    ["constants", facts.constants],
    ["not credited", facts.missed],
  ];
  const added = (name) => told.said.reduce((sum, said) => sum + said.likely[name], 0);
  const views = {
    all: () => {
      const facts = { value: added("value"), constants: added("constants"), missed: added("missed") };
      return {
        title: "The whole answer", chances: [], note: told.facts, about: told.about, value: facts.value,
        ...sources(whole, tokens.length), beside: beside(whole, facts), is: () => false, later: Infinity,
      };
    },
    said: (t) => {
      const i = t - told.prompt, said = told.said[i], tips = question === "over" && said.over !== null;
      const row = tips ? over.get(i) : likely[i], facts = tips ? said.over : said.likely;
      return {
        title: shown(t), note: `token ${t}, ${said.p}${said.rank > 1 ? `, rank ${said.rank}` : ""}`,
        chances: said.likeliest, about: facts.about, value: facts.value, ...sources(row, t),
        beside: beside(row, facts), is: (other) => other === t, later: t + 1,
      };
    },
    gave: (t) => {
      const passage = unit.of[t], own = tokens.map((_, s) => s).filter((s) => unit.of[s] === passage);
      // what a sink gives is nobody's; of a passage that is nothing else it is told all the same
      const counted = own.every((s) => apart.has(s)) ? own : own.filter((s) => !apart.has(s));
      const given = likely.map((row) => counted.reduce((sum, s) => sum + (row[s] ?? 0), 0));
      const reached = (i) => i >= 0 && counted[0] < stops[i];
      const list = stops.map((s, i) => ({ name: shown(s), value: given[i], to: s })).filter((_, i) => reached(i));
      return {
        title: unit.labels[passage], chances: [], about: `what it gave to the answer, ${told.about}`, later: Infinity,
        note: own.length > 1 ? `${own.length} tokens, the first is ${own[0]}` : `token ${own[0]}`,
        values: tokens.map((_, s) => (reached(s - told.prompt) ? given[s - told.prompt] : undefined)),
        list, full: largest(given), is: (s) => unit.of[s] === passage,
        beside: [], value: given.reduce((sum, value) => sum + value, 0),
      };
    },
  };
  const view = () => {
    if (chosen === undefined) return views.all();
    return chosen < told.prompt || question === "gave" ? views.gave(chosen) : views.said(chosen);
  };

  // shading, as the report's: the largest value has the strongest colour
  const shade = (element, names, value, full) => {
    const share = value === undefined || full === 0 ? 0 : Math.abs(value) / full;
    const heat = share < 0.01 ? "" : ` heat ${value < 0 ? "neg" : "pos"}${share > 1.00001 ? " cut" : ""}`;
    if (element.className !== names + heat) element.className = names + heat;
    element.style.setProperty("--v", heat && (told.strongest * Math.min(1, share)).toFixed(4));
  };
  const paint = ({ values, full, is, later }) => {
    tokens.forEach((element, t) => {
      shade(element, `t${is(t) ? " chosen" : ""}${t >= later ? " later" : ""}`, values[t], full);
    });
    for (const element of talk.querySelectorAll('[aria-selected="true"]')) element.setAttribute("aria-selected", false);
    tokens[chosen]?.setAttribute("aria-selected", true);
    for (const fold of folds) {
      const own = [...fold.querySelectorAll(".t")].map((element) => place.get(element));
      const passages = new Map(own.map((t) => [unit.of[t], values[t] ?? 0]));
      const value = [...passages.values()].reduce((sum, each) => sum + each, 0);
      shade(fold.querySelector("summary span"), "", value, full);
    }
    const both = values.some((value) => value < 0);
    const ramp = make("span", { className: both ? "ramp both" : "ramp" });
    talk.querySelector(".key")?.replaceChildren(both ? signed(-full) : "0", ramp, signed(full));
  };

  // the panel: what is told of the choice in words and numbers
  const radios = (name, legend, choices) => {
    const labels = choices.map(([value, text]) => {
      const input = make("input", { type: "radio", name, value });
      return make("label", {}, input, make("span", { textContent: text }));
    });
    return make("fieldset", { className: name }, make("legend", { textContent: legend }), ...labels);
  };
  const units = radios("unit", "by", told.units.map(({ name }, i) => [i, `${name}s`]));
  const asks = [["likely", ""], ["over", ""], ["gave", "what it gave"]];
  const questions = radios("question", "what is told of the token", asks);
  const back = make("button", { type: "button", className: "back", textContent: "whole answer" });
  const found = make("div"), aloud = make("p", { className: "unseen" });
  aloud.setAttribute("aria-live", "polite");
  questions.querySelector("legend").className = "unseen";
  const panel = make("div", { className: "panel" }, units, questions, back, found, aloud);
  panel.setAttribute("role", "region");
  panel.setAttribute("aria-label", "what is chosen");

  const entry = ({ name, value, from, to }, most) => {
    // the answer's own words look as in the report
    const label = make("span", { className: from >= told.prompt ? "strong" : "", textContent: name });
    const named = from !== undefined && ["message", "role"].includes(unit.name); // the same name is not there twice
    const position = make("span", { className: "dim", textContent: named ? "" : ` ${from ?? to}` });
    const button = make("button", { type: "button", className: "word", title: name }, label, position);
    button.dataset.t = from ?? to;
    button.dataset.question = from === undefined ? "likely" : "gave";
    const bar = make("span", { className: `bar ${value < 0 ? "neg" : "pos"}` });
    bar.style.setProperty("--v", most > 0 ? (Math.abs(value) / most).toFixed(4) : 0);
    return make("li", {}, button, bar, make("span", { textContent: signed(value) }));
  };
  const line = (name, value, names = "") =>
    make("li", { className: names }, name, make("span"), make("span", { textContent: signed(value) }));
  const tell = ({ title, note, chances, about, list, full, beside, value }) => {
    const order = [...list].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const rest = order.slice(LISTED), whole = chosen === undefined;
    const likeliest = chances.map(([name, p, is]) => make("li", { className: is ? "is" : "" }, word(name), p));
    const others = make("button", { type: "button", className: "others" }, opened ? "fewer" : many(rest.length));
    const left = rest.reduce((sum, item) => sum + item.value, 0);
    found.replaceChildren(
      make("h3", {}, whole ? title : word(title)),
      make("p", { textContent: note }),
      make("ul", { className: "chances", hidden: chances.length === 0 }, ...likeliest),
      make("ol", {}, ...order.slice(0, opened ? undefined : LISTED).map((item) => entry(item, full))),
      make("ul", { className: "beside" },
        ...(rest.length ? [line(others, left, opened ? "opened" : "")] : []),
        ...beside.filter(([, given]) => worth(given)).map(([name, given]) => line(name, given)),
        line(make("span", { textContent: about }), value, "sum")),
    );
    const most = order.slice(0, NAMED).map((item) => `${item.name} ${signed(item.value)}`).join(", ");
    aloud.textContent = `${title}. ${note}. ${about}: ${most}`;
  };
  const ask = () => {
    const said = chosen >= told.prompt ? told.said[chosen - told.prompt] : undefined;
    questions.hidden = said === undefined;
    back.hidden = chosen === undefined;
    for (const input of units.querySelectorAll("input")) input.checked = told.units[input.value] === unit;
    if (!said) return;
    const [first, second, third] = questions.querySelectorAll("input");
    first.nextSibling.replaceChildren(...phrase(said.asked));
    second.nextSibling.replaceChildren(...phrase(said.rival ?? []));
    second.disabled = said.over === null;
    second.parentElement.hidden = said.rival === null;
    first.checked = question === "likely" || (question === "over" && second.disabled);
    second.checked = question === "over" && !second.disabled;
    third.checked = question === "gave";
  };
  const show = () => {
    seen = view();
    paint(seen);
    ask();
    tell(seen);
  };

  // choosing
  const choose = (t) => {
    if (chosen === t) return;
    chosen = t;
    opened = false;
    if (question === "gave") question = "likely"; // that is asked of one token, the others of all
    if (t !== undefined) {
      // the tab key comes back to where it was, in the prompt and in the answer
      const side = t < told.prompt;
      for (const element of talk.querySelectorAll('.t[tabindex="0"]')) {
        if (place.get(element) < told.prompt === side) element.tabIndex = -1;
      }
      tokens[t].tabIndex = 0;
    }
    show();
    if (t >= told.prompt) reveal(seen);
  };
  // a long prompt scrolls to what gave most, where that is out of sight
  const reveal = ({ list }) => {
    const there = list.filter(({ from }) => from < told.prompt);
    if (asked.scrollHeight <= asked.clientHeight || there.length === 0) return;
    const { from } = there.reduce((a, b) => (Math.abs(b.value) > Math.abs(a.value) ? b : a));
    const strongest = hidden(tokens[from]) ? tokens[from].closest(".fold") : tokens[from];
    const at = strongest.getBoundingClientRect(), box = asked.getBoundingClientRect();
    if (at.top >= box.top && at.bottom <= box.bottom) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    asked.scrollBy({ top: at.top - box.top - box.height / 3, behavior: calm ? "auto" : "smooth" });
  };
  const hidden = (element) => element.closest(".fold:not([open])") !== null;
  const token = (event) => event.target.closest?.(".t");
  for (const kind of ["focusin", "click"]) {
    talk.addEventListener(kind, (event) => {
      if (token(event)) choose(place.get(token(event)));
    });
  }
  const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
  talk.addEventListener("keydown", (event) => {
    const from = place.get(token(event));
    if (from === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    const side = tokens.filter((element, t) => t < told.prompt === from < told.prompt && !hidden(element));
    const ends = { Home: 0, End: side.length - 1 };
    const to = ends[event.key] ?? side.indexOf(tokens[from]) + (steps[event.key] ?? NaN);
    if (event.key === "Enter" || event.key === " ") choose(from);
    else if (Number.isNaN(to)) return;
    else side[to]?.focus();
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") choose(undefined);
  });
  talk.addEventListener("pointerover", (event) => {
    if (!token(event)) return;
    const value = seen.values[place.get(token(event))];
    token(event).title = value === undefined ? "" : signed(value);
  });
  panel.addEventListener("change", ({ target }) => {
    if (target.name === "unit") unit = told.units[target.value];
    else question = target.value;
    show();
  });
  panel.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button === back) {
      choose(undefined);
      units.querySelector(":checked").focus();
    } else if (button?.className === "others") {
      opened = !opened;
      show();
      found.querySelector(".others").focus();
    } else if (button) {
      const element = tokens[button.dataset.t];
      if (hidden(element)) element.closest(".fold").open = true;
      element.focus();
      choose(place.get(element));
      question = button.dataset.question;
      show();
    }
  });

  for (const text of talk.querySelectorAll(".speech")) {
    text.setAttribute("role", "listbox");
    text.setAttribute("aria-orientation", "horizontal");
    text.setAttribute("aria-label", text.parentElement.querySelector(".who, summary").textContent);
  }
  const first = tokens.findIndex((element) => !hidden(element));
  tokens.forEach((element, t) => {
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", false);
    element.tabIndex = t === first || t === told.prompt ? 0 : -1;
  });
  explorer.classList.add("live");
  explorer.append(panel);
  explorer.previousElementSibling.textContent = "choose a token of the answer to see where it came from, "
    + "or one of the prompt to see what it gave: blue for, orange against";
  show();
})();
