const run = document.getElementById("run");
const events = new EventSource("/ht/events");
events.onmessage = (event) => { run.innerHTML = event.data; };
events.onerror = () => { document.body.classList.add("silent"); };
events.onopen = () => { document.body.classList.remove("silent"); };
