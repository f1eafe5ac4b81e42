// Sends messages of some sizes, with bodies of several kinds, one after the other; says what became of each.
// node rhea_sizes.js PORTS QUEUE SIZE...
const rhea = require('rhea');
const [ports, queue, ...sizes] = process.argv.slice(2);
const addresses = ports.split(',').map(Number);
const words = (size) => Array(Math.floor(size / 5000) + 1).fill('x'.repeat(Math.min(size, 5000)));
const kinds = {
    binary: (size) => Buffer.alloc(size, 0xa5),
    data: (size) => rhea.message.data_section(Buffer.alloc(size, 0xa5)),
    text: (size) => 'x'.repeat(size),
    list: words,
    sequence: (size) => rhea.message.sequence_section(words(size)),
};
const todo = sizes.flatMap((size) => Object.keys(kinds).map((kind) => [Number(size), kind]));
let attempt = 0;
let waiting = false;
const container = rhea.create_container();
container.on('disconnected', () => {});
container.on('connection_error', () => {});
const send = (sender) => {
    if (waiting || !sender.sendable()) return;
    if (!todo.length) { console.log('done'); process.exit(0); }
    waiting = true;
    sender.send({ body: kinds[todo[0][1]](todo[0][0]), durable: true });
};
const over = (outcome) => (context) => {
    const error = context.delivery.remote_state.error;
    console.log([...todo.shift(), outcome, error ? error.condition : ''].join(' '));
    waiting = false;
    send(context.sender);
};
container.on('sendable', (context) => send(context.sender));
container.on('accepted', over('accepted'));
container.on('rejected', over('rejected'));
container.connect({
    connection_details: () => ({ host: '127.0.0.1', port: addresses[attempt++ % addresses.length] }),
    initial_reconnect_delay: 20, max_reconnect_delay: 100,
}).open_sender(queue);
