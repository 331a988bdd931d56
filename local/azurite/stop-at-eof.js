// Loaded before Azurite (node --require): the end of standard input stops it as SIGTERM would, which also works where
// a process cannot be sent that signal (Windows), and when the guard itself was killed.
"use strict";

let stopping = false;

function stop() {
  // Azurite listens for one signal only, and a second one would end it in the middle of saving
  if (stopping) return;
  stopping = true;
  // it listens once it is up; before that there is nothing to save
  if (process.listenerCount("SIGTERM") > 1) process.emit("SIGTERM");
  else process.exit(1);
}

// whoever read the output may be gone by then; that must not end it in the middle of saving either
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
for (const signal of ["SIGTERM", "SIGBREAK"]) process.on(signal, stop);
process.stdin.once("end", stop).resume();
process.stdin.unref?.();
