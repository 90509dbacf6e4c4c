// Sends a C-ECHO and then files, as many C-STOREs in flight as the window that it asks for allows.
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

const client = new dimse.Client();
client.addRequest(new dimse.requests.CEchoRequest());
for (const file of files) {
  const request = new dimse.requests.CStoreRequest(file);
  request.on('response', (response) => {
    told.statuses[file] = response.getStatus();
  });
  client.addRequest(request);
}
client.on('associationAccepted', (association) => {
  told.window = [association.getMaxAsyncOpsInvoked(), association.getMaxAsyncOpsPerformed()];
});
client.on('associationRejected', () => told.errors.push('rejected'));
client.on('networkError', (error) => told.errors.push(String(error)));
client.on('closed', () => {
  process.stdout.write(`${JSON.stringify(told)}\n`);
});
client.send('127.0.0.1', Number(port), 'NODE', 'GATE', {
  asyncOps: { maxAsyncOpsInvoked: Number(operations), maxAsyncOpsPerformed: 1 },
});
