(() => {
  // lenses: one at a time, a state that stays chosen while they are switched, and the layers and positions looked at
  const told = JSON.parse(document.getElementById("told").textContent);
  const sections = [...document.querySelectorAll("main > section")], each = 1 + told.targets.length;
  const panels = told.lenses.map((_, i) => {
    const own = sections.slice(i * each, (i + 1) * each), panel = make("div", { className: "lens", id: `lens-${i + 1}` });
    own[0].before(panel);
    panel.append(...own);
    return panel;
  });
  // of every lens the tables: what its states say, then the ranks of every target; all of the same layers and positions
  const grids = panels.map((panel) => [...panel.querySelectorAll("table")]);
  const tables = grids.flat(), links = [...document.querySelectorAll("main > nav li")];
  const layers = tables[0].rows.length - 1, positions = tables[0].rows[0].cells.length - 1;
  const everything = { top: 0, bottom: layers - 1, left: 0, right: positions - 1 };

  // a place in a grid: a layer and a position by number, -1 for the heads
  const at = (table, { row, column }) => table.rows[row + 1].cells[column + 1];
  const stop = (table, place) => at(table, place).querySelector(".carded, button"); // what has the focus there
  const placed = (element) => {
    const cell = element?.closest?.(".lens :is(td, th)");
    if (!cell) return undefined;
    return { row: cell.parentElement.rowIndex - 1, column: cell.cellIndex - 1, table: cell.closest("table") };
  };
  const corner = (place) => place.row < 0 && place.column < 0;
  const head = (place) => place.row < 0 || place.column < 0;
  const alike = (a, b) => a.row < 0 === b.row < 0 && a.column < 0 === b.column < 0;
  const span = (a, b, least, most) => (a < 0 || b < 0 ? [least, most] : [Math.min(a, b), Math.max(a, b)]);
  const between = (a, b) => {
    const [top, bottom] = span(a.row, b.row, kept.top, kept.bottom);
    const [left, right] = span(a.column, b.column, kept.left, kept.right);
    return { top, bottom, left, right };
  };
  const within = ({ top, bottom, left, right }, row, column) =>
    (row < 0 || (row >= top && row <= bottom)) && (column < 0 || (column >= left && column <= right));
  const layer = (row) => at(tables[0], { row, column: -1 }).textContent;
  const position = (column) => at(tables[0], { row: -1, column }).querySelector(".dim").textContent;
  const through = (visit) => {
    for (const table of tables) {
      for (const line of table.rows) for (const cell of line.cells) visit(cell, line.rowIndex - 1, cell.cellIndex - 1);
    }
  };

  // what is looked at: a lens, a state (none at first), what is kept of the grid; marked: what may be kept next, and
  // from where it reaches; pressed: where the pointer went down
  let lens = 0, chosen, kept = everything, marked, anchor, pressed, dragged = false;

  // above the grids: the lenses, and what is looked at
  const tabs = panels.map((panel, i) => {
    const key = i < 9 ? [make("kbd", { ariaHidden: "true", textContent: i + 1 })] : [];
    const tab = make("button", { type: "button", id: `tab-${i + 1}` }, make("bdi", { textContent: told.lenses[i] }), ...key);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    if (i < 9) tab.setAttribute("aria-keyshortcuts", i + 1);
    return tab;
  });
  const list = make("div", { className: "tabs", hidden: panels.length < 2 }, ...tabs);
  const seen = make("span"), back = make("button", { type: "button", textContent: "show all (Escape)" });
  const tools = make("div", { className: "tools" }, list, make("p", {}, seen, " ", back));
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "lenses");
  seen.setAttribute("role", "status");
  panels[0].before(tools);

  // below the grid: the chosen state through all lenses
  const state = make("aside", { className: "state" });
  state.setAttribute("aria-label", "the chosen state through all lenses");
  const draw = (name, given, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const WIDTH = 300, HEIGHT = 96, EDGE = 5;
  const lines = (target, t) => {
    const ranks = grids.map((own) => [...own[t + 1].tBodies[0].rows].map((row) => Number(row.cells[chosen.column + 1].dataset.v)));
    const most = Math.max(10, ...ranks.flat());
    const x = (row) => EDGE + ((WIDTH - 2 * EDGE) * row) / Math.max(1, layers - 1);
    const y = (rank) => EDGE + ((HEIGHT - 2 * EDGE) * Math.log(rank)) / Math.log(most);
    const line = (i) => draw("polyline", {
      class: i === lens ? "now" : "", points: ranks[i].map((rank, row) => `${x(row).toFixed(1)},${y(rank).toFixed(1)}`).join(" "),
    });
    const others = panels.map((_, i) => i).filter((i) => i !== lens);
    const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" },
      draw("rect", { class: "frame", width: WIDTH, height: HEIGHT }),
      draw("line", { x1: x(chosen.row), x2: x(chosen.row), y1: 0, y2: HEIGHT }), ...others.map(line), line(lens),
      draw("circle", { cx: x(chosen.row), cy: y(ranks[lens][chosen.row]), r: 3 }));
    picture.setAttribute("aria-label", ranks.map((own, i) => `${told.lenses[i]}: ${own.join(", ")}`).join("; "));
    const about = ` from layer ${layer(0)} to ${layer(layers - 1)}: 1 at the top, ${most.toLocaleString("en")} at the foot`
      + (others.length ? "; other lenses pale" : "");
    return make("figure", {}, picture, make("figcaption", {}, "rank of ", make("bdi", { className: "word", textContent: target }), about));
  };
  let selected = [], stops = []; // of every table the chosen cell, and what the Tab key comes to
  const tell = () => {
    for (const cell of selected) cell.removeAttribute("aria-selected");
    for (const element of stops) element.tabIndex = -1;
    const first = chosen && within(kept, chosen.row, chosen.column) ? chosen : { row: kept.top, column: kept.left };
    selected = chosen ? tables.map((table) => at(table, chosen)) : [];
    stops = tables.map((table) => stop(table, first));
    for (const cell of selected) cell.setAttribute("aria-selected", true);
    for (const element of stops) element.tabIndex = 0;
    state.hidden = chosen === undefined;
    if (state.hidden) return;
    const cards = grids.map(([table]) => [...at(table, chosen).querySelectorAll(".tip > .row")]);
    const through = cards.map(([, ...rows], i) => make("div", { className: i === lens ? "now" : "" },
      make("h4", { textContent: told.lenses[i] }), ...rows.map((row) => row.cloneNode(true))));
    state.replaceChildren(
      make("h3", {}, "Behind ", ...cards[0][0].lastChild.cloneNode(true).childNodes),
      make("div", { className: "side" }, ...through),
      make("div", { className: "side" }, ...told.targets.map(lines)),
    );
  };

  const show = (i) => {
    const from = placed(document.activeElement), k = from && grids[lens].indexOf(from.table);
    const scrolled = grids[lens].map(({ parentElement: box }) => [box.scrollLeft, box.scrollTop]);
    lens = i;
    panels.forEach((panel, p) => (panel.hidden = p !== i));
    tabs.forEach((tab, p) => {
      tab.setAttribute("aria-selected", p === i);
      tab.tabIndex = p === i ? 0 : -1;
    });
    if (each > 1) links.forEach((link, n) => (link.hidden = Math.floor(n / each) !== i));
    panels[i].firstElementChild.after(state);
    tell();
    grids[i].forEach(({ parentElement: box }, n) => ([box.scrollLeft, box.scrollTop] = scrolled[n]));
    if (from) stop(grids[i][k], from).focus();
  };

  // narrowing: what is marked, and what is kept
  const many = (name, first, last) => (first === last ? `${name} ${first}` : `${name}s ${first} to ${last}`);
  const words = ({ top, bottom, left, right }) =>
    `${many("layer", layer(top), layer(bottom))}, ${many("position", position(left), position(right))}`;
  const touched = matchMedia("(pointer: coarse)").matches;
  const hint = touched ? "Choose two heads for only those layers and positions."
    : "Drag over cells or heads, or choose two heads, for only those layers and positions; Escape: all. "
      + `Arrow keys go from cell to cell${panels.length > 1 ? ", numbers switch the lens" : ""}.`;
  const say = () => {
    const next = dragged ? "let go to see only these" : head(anchor ?? {}) ? "choose the head where they end, or the same again"
      : "Enter to see only these";
    const whole = Object.keys(everything).every((side) => kept[side] === everything[side]);
    seen.textContent = marked ? `Marked ${words(marked)}: ${next}` : whole ? hint : `Only ${words(kept)}`;
    back.hidden = whole && !marked;
  };
  const mark = (wanted) => {
    marked = wanted;
    through((cell, row, column) => cell.classList.toggle("marked", wanted !== undefined && within(wanted, row, column)
      && !corner({ row, column })));
    say();
  };
  const lift = () => {
    pressed?.table.classList.remove("pressed");
    pressed = undefined;
    dragged = false;
  };
  const narrow = (wanted) => {
    kept = wanted;
    anchor = undefined;
    lift();
    for (const table of tables) {
      for (const line of table.rows) line.hidden = !within(kept, line.rowIndex - 1, -1);
    }
    through((cell, _, column) => (cell.hidden = !within(kept, -1, column)));
    mark(undefined);
    tell();
  };
  const reach = (place) => mark(between(anchor, place)); // from where it began to here
  const pick = (place) => {
    if (marked && anchor && alike(anchor, place)) return narrow(between(anchor, place));
    anchor = place;
    reach(place);
  };

  // keys: arrows move, with shift they mark; a head is a button
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
  const moved = (from, by, least, most) => {
    if (by === 0) return from;
    if (Math.abs(by) > 1) return by < 0 ? least : most;
    return from < 0 ? (by > 0 ? least : from) : from + by < least ? -1 : Math.min(most, from + by);
  };
  const step = (event) => {
    const from = placed(event.target), [down, right] = steps[event.key] ?? [];
    if (!from) return;
    if (event.key === "Enter" && marked && !head(from)) narrow(marked);
    if (down === undefined) return;
    event.preventDefault();
    const to = { row: moved(from.row, down, kept.top, kept.bottom), column: moved(from.column, right, kept.left, kept.right) };
    if (corner(to)) return;
    if (event.shiftKey && alike(from, to)) {
      if (!marked || !alike(anchor, from)) anchor = from;
      reach(to);
    } else if (marked && !head(anchor)) {
      anchor = undefined;
      mark(undefined);
    }
    stop(from.table, to).focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (panels[event.key - 1] && event.key.length === 1) show(event.key - 1);
    else if (event.key === "Escape") narrow(everything);
    else step(event);
  });
  list.addEventListener("keydown", (event) => {
    const n = tabs.length, to = { ArrowLeft: lens + n - 1, ArrowRight: lens + 1, Home: 0, End: n - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to % n);
    tabs[lens].focus();
  });
  list.addEventListener("click", ({ target }) => {
    const tab = tabs.indexOf(target.closest("button"));
    if (tab >= 0) show(tab);
  });
  back.addEventListener("click", () => {
    narrow(everything);
    stop(grids[lens][0], chosen ?? { row: 0, column: 0 }).focus();
  });

  // the pointer: a click chooses a state or marks from a head, with shift up to there; a mouse drags
  document.addEventListener("focusin", ({ target }) => {
    const place = placed(target);
    if (!place || head(place)) return;
    chosen = { row: place.row, column: place.column };
    tell();
  });
  const release = () => {
    const wanted = dragged && marked;
    lift();
    if (wanted) narrow(wanted);
  };
  for (const table of tables) {
    table.addEventListener("pointerdown", (event) => {
      const place = placed(event.target);
      const drags = event.pointerType !== "touch" && event.button === 0 && !event.shiftKey && !event.target.closest(".tip");
      if (!drags || !place || corner(place)) return;
      pressed = place;
      table.classList.add("pressed"); // without cards, which would lie in the way
    });
    table.addEventListener("pointerover", (event) => {
      const place = placed(event.target);
      if (pressed && event.buttons % 2 === 0) release();
      if (pressed?.table !== table || !place || corner(place)) return;
      if (place.row === pressed.row && place.column === pressed.column) return dragged ? mark(undefined) : undefined;
      dragged = true;
      anchor = pressed;
      reach(place);
    });
    table.addEventListener("click", (event) => {
      const place = placed(event.target);
      if (!place || corner(place)) return;
      if (head(place)) pick(place);
      else if (event.shiftKey && anchor) {
        getSelection().removeAllRanges();
        narrow(between(anchor, place));
      } else {
        anchor = place;
        mark(undefined);
        stop(table, place).focus({ preventScroll: true });
      }
    });
  }
  for (const kind of ["pointerup", "pointercancel"]) document.addEventListener(kind, release);

  // the grids themselves: all layers, heads that choose in the place of those that sort, one stop of the Tab key each
  for (const table of tables) {
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", table.closest("section").querySelector("h2").textContent);
    table.parentElement.removeAttribute("tabindex");
    for (const cell of table.rows[0].cells) {
      cell.removeAttribute("aria-sort");
      const label = cell.querySelector("button").childNodes;
      cell.replaceChildren(...(cell.cellIndex ? [make("button", { type: "button" }, ...label)] : label));
    }
    for (const { cells: [first] } of table.tBodies[0].rows) {
      first.setAttribute("role", "rowheader");
      first.replaceChildren(make("button", { type: "button" }, ...first.childNodes));
    }
    for (const element of table.querySelectorAll("button, .carded")) element.tabIndex = -1;
  }
  for (const panel of panels) {
    for (const opener of panel.querySelectorAll(".more")) opener.remove();
    if (panels.length < 2) continue;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tabs[panels.indexOf(panel)].id);
  }
  // a link that leads to a part of another lens
  const led = () => {
    const part = document.getElementById(location.hash.slice(1)), i = panels.findIndex((panel) => panel.contains(part));
    if (i < 0 || i === lens) return;
    show(i);
    part.scrollIntoView();
  };
  addEventListener("hashchange", led);
  show(0);
  say();
  led();
})();
