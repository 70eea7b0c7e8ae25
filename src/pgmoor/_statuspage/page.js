"use strict";
(() => {
  const SILENT = 15000; // ms without a message, after which the stream counts as lost
  const RETRY = 3000; // ms for the browser to reconnect by itself
  const address = location.pathname.replace(/\/+$/, "") + "/stream" + location.search;
  const link = document.getElementById("link");
  const parser = new DOMParser();
  let source = null;
  let timer = 0;

  // Make `old` like `fresh`. Change only what differs, so that selection and focus stay.
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

  function setStatus(text, kind) {
    if (link.textContent !== text) link.textContent = text;
    link.className = kind;
  }

  function markLost() {
    if (link.className !== "lost") {
      const now = new Date().toISOString().slice(11, 19);
      setStatus("not live since " + now + " UTC; reconnecting", "lost");
    }
  }

  // Reconnect unless a message arrives before.
  function reconnectAfter(delay) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      markLost();
      connect();
    }, delay);
  }

  function update(message) {
    const fresh = parser.parseFromString(message.data, "text/html").body.firstElementChild;
    const old = fresh && document.getElementById(fresh.id);
    if (!old) return;
    patch(old, fresh);
    const state = document.querySelector("#state strong").textContent;
    document.title = document.querySelector("h1").textContent + ": " + state;
    setStatus("live", "live");
    reconnectAfter(SILENT);
  }

  function disconnect() {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  }

  function connect() {
    disconnect();
    source = new EventSource(address);
    source.addEventListener("message", update);
    let failed = false; // the browser retries each second; the delay counts from the first failure
    source.addEventListener("open", () => { failed = false; });
    source.addEventListener("error", () => {
      if (!failed) reconnectAfter(RETRY);
      failed = true;
    });
    reconnectAfter(SILENT);
  }

  // A browser opens few connections to one server, so a hidden page uses none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else connect();
  });
  addEventListener("pagehide", disconnect);
  if (!document.hidden) connect();
})();
