"use strict";
// A client of EventService, as one writes it with grpc-js: prints each event as a line of JSON.
//
//   node client.js ADDRESS START END …          a call for each pair; its status goes to stderr as a line of JSON
//   node client.js ADDRESS START follow LAST    follows the network until an event of a ledger after LAST comes;
//                                               after a break it asks again, for the first ledger that may be incomplete
//
// A ledger is complete when an event of a later one comes: only then its events are printed.

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync("event_service/event_service.proto", {
  includeDirs: [path.join(__dirname, "protos")],
  keepCase: true,
  longs: String,
  bytes: String,
});
const { EventService } = grpc.loadPackageDefinition(definition).token_transfer_service;

const [address, start, end, last] = process.argv.slice(2);
const client = new EventService(address, grpc.credentials.createInsecure(), {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 500,
});

const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

function ask(start, end, ...others) {
  const call = client.GetTTPEvents({ start_ledger: Number(start), end_ledger: Number(end) });
  call.on("data", print);
  call.on("error", () => {}); // its status tells
  call.on("status", ({ code, details }) => {
    process.stderr.write(`${JSON.stringify({ code: grpc.status[code], details })}\n`);
    if (code !== grpc.status.OK) process.exitCode = 1;
    else if (others.length > 0) ask(...others);
  });
}

function follow(from) {
  let next = from;
  let pending = [];
  const call = client.GetTTPEvents({ start_ledger: next, end_ledger: 0 });
  call.on("data", (event) => {
    const ledger = event.meta.ledger_sequence;
    if (pending.length > 0 && ledger > next) {
      pending.forEach(print);
      pending = [];
    }
    next = ledger;
    if (ledger > Number(last)) {
      call.cancel();
      client.close();
      return;
    }
    pending.push(event);
  });
  call.on("error", (error) => {
    if (error.code === grpc.status.CANCELLED) return;
    process.stderr.write(`${JSON.stringify({ code: grpc.status[error.code], next })}\n`);
    setTimeout(() => follow(next), 100);
  });
}

if (end === "follow") follow(Number(start));
else ask(...process.argv.slice(3));
