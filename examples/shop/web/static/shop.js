// Two small comforts; every page works without them.
"use strict";
(() => {
  const ticker = document.querySelector("[data-ticker]");
  if (ticker && window.EventSource) {
    const source = new EventSource("/events");
    source.addEventListener("stock", (e) => {
      const s = JSON.parse(e.data);
      ticker.textContent = `${s.name}: ${s.stock} left`;
      const here = document.querySelector(`[data-stock="${s.product}"]`);
      if (here) here.textContent = s.stock;
    });
    source.onerror = () => { ticker.textContent = "stock ticker: waiting for the shop"; };
    addEventListener("pagehide", () => source.close());
  }

  const log = document.querySelector("[data-chat]");
  if (log) {
    const form = document.querySelector("form.say");
    const write = (text, kind) => {
      const p = document.createElement("p");
      p.className = kind;
      p.textContent = text;
      log.append(p);
      while (log.children.length > 200) log.firstChild.remove();
      log.scrollTop = log.scrollHeight;
    };
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/ws");
    socket.onmessage = (e) => write(e.data, e.data.startsWith("shop: ") ? "shop" : "said");
    socket.onclose = () => { write("The line is closed. Reload the page to join again.", "shop"); form.say.disabled = true; };
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      if (form.text.value && socket.readyState === WebSocket.OPEN) socket.send(form.text.value);
      form.text.value = "";
      form.text.focus();
    });
  }
})();
