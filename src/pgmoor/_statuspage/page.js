"use strict";
(() => {
  const SILENT = 15000; // ms without a word, after which the stream is taken for lost
  const AGAIN = 3000; // ms in which the browser may connect again by itself
  const address = location.pathname.replace(/\/+$/, "") + "/stream" + location.search;
  const link = document.getElementById("link");
  const parser = new DOMParser();
  let source = null;
  let timer = 0;

  // Make `old` like `fresh`, and touch only what differs: a selection and the focus stay.
  function patch(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh.cloneNode(true));
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else {
      for (const { name } of [...old.attributes]) {
        if (!fresh.hasAttribute(name)) old.removeAttribute(name);
      }
      for (const { name, value } of fresh.attributes) {
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      }
      const before = [...old.childNodes];
      const after = [...fresh.childNodes];
      after.forEach((node, place) => {
        if (place < before.length) patch(before[place], node);
        else old.append(node.cloneNode(true));
      });
      before.slice(after.length).forEach((node) => node.remove());
    }
  }

  function say(text, kind) {
    if (link.textContent !== text) link.textContent = text;
    link.className = kind;
  }

  function lost() {
    if (link.className !== "lost") {
      say("not live since " + new Date().toISOString().slice(11, 19) + " UTC; trying again", "lost");
    }
  }

  function expect(delay) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      lost();
      connect();
    }, delay);
  }

  function take(message) {
    const fresh = parser.parseFromString(message.data, "text/html").body.firstElementChild;
    const old = fresh && document.getElementById(fresh.id);
    if (!old) return;
    patch(old, fresh);
    const state = document.querySelector("#state strong").textContent;
    document.title = document.querySelector("h1").textContent + ": " + state;
    say("live", "live");
    expect(SILENT);
  }

  function leave() {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  }

  function connect() {
    leave();
    source = new EventSource(address);
    source.addEventListener("message", take);
    let failed = false; // the browser tries each second; the first failure counts
    source.addEventListener("open", () => { failed = false; });
    source.addEventListener("error", () => {
      if (!failed) expect(AGAIN);
      failed = true;
    });
    expect(SILENT);
  }

  // A browser has few connections to a server: a page that nobody sees takes none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leave();
    else connect();
  });
  addEventListener("pagehide", leave);
  if (!document.hidden) connect();
})();
