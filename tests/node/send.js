// Sends files and then a C-ECHO, OPERATIONS of them at a time, over an association with that asynchronous operations window.
//
//     node send.js PORT OPERATIONS FILE...
//
// Prints a line of JSON: the window that was agreed on, and by file the status.
'use strict';

const dimse = require('dcmjs-dimse');

const [port, operations, ...files] = process.argv.slice(2);
const told = { window: null, statuses: {}, errors: [] };
console.warn = () => {};
dimse.log.setLevel('silent');

const requests = files.map((file) => {
  const request = new dimse.requests.CStoreRequest(file);
  request.on('response', (response) => {
    told.statuses[file] = response.getStatus();
  });
  return request;
});
requests.push(new dimse.requests.CEchoRequest());

const client = new dimse.Client();
requests.forEach((request) => client.addRequest(request));
client.on('associationAccepted', (association) => {
  told.window = [association.getMaxAsyncOpsInvoked(), association.getMaxAsyncOpsPerformed()];
  // It sends the next request when one is answered; each call of sendRequests begins another such chain, the client's own is the last.
  const { network } = client;
  client.clearRequests();
  requests.slice(0, operations - 1).forEach((request) => network.sendRequests(request));
  requests.slice(operations - 1).forEach((request) => client.addRequest(request));
  // Each chain asks for the release at its end: the last one may.
  const release = network.sendAssociationReleaseRequest.bind(network);
  let chains = Number(operations);
  network.sendAssociationReleaseRequest = () => {
    chains -= 1;
    if (chains === 0) release();
  };
});
client.on('associationRejected', () => told.errors.push('rejected'));
client.on('networkError', (error) => told.errors.push(String(error)));
client.on('closed', () => process.stdout.write(`${JSON.stringify(told)}\n`));
client.send('127.0.0.1', Number(port), 'NODE', 'GATE', {
  asyncOps: { maxAsyncOpsInvoked: Number(operations), maxAsyncOpsPerformed: 1 },
});
