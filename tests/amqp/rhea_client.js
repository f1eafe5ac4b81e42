// A client in JavaScript: 1, 2, 3 ... published unsettled, numbered if it has a name, or consumed; follows the primary.
// node rhea_client.js publish|consume PORTS QUEUE COUNT [PUBLISHER]
const rhea = require('rhea');
const [mode, ports, queue, count, publisher] = process.argv.slice(2);
const last = Number(count);
const addresses = ports.split(',').map(Number);
let attempt = 0;
const options = {
    connection_details: () => ({ host: '127.0.0.1', port: addresses[attempt++ % addresses.length] }),
    initial_reconnect_delay: 20, max_reconnect_delay: 100, reconnect_limit: 1000,
};
const container = rhea.create_container();
container.on('disconnected', () => {});
container.on('connection_error', () => {});

if (mode === 'publish') {
    const accepted = new Set();
    let sent = new Map();
    let next = 1;
    let sender;
    const send = () => {
        while (sender.sendable() && sent.size < 50 && next <= last) {
            const number = next++;
            if (accepted.has(number)) continue;
            const message = { body: number, durable: true };
            if (publisher) message.message_annotations = { 'x-opt-publisher': publisher, 'x-opt-number': number };
            sent.set(sender.send(message).id, number);
        }
    };
    container.on('sender_open', (context) => {
        // What was not answered when the connection was lost is sent again, in order.
        sender = context.sender;
        sent = new Map();
        next = 1;
        while (accepted.has(next)) next++;
        send();
    });
    container.on('sendable', send);
    container.on('accepted', (context) => {
        const number = sent.get(context.delivery.id);
        if (number === undefined) return;
        sent.delete(context.delivery.id);
        accepted.add(number);
        if (accepted.size % 100 === 0) console.log(accepted.size);
        if (accepted.size === last) { console.log('done'); process.exit(0); }
        send();
    });
    container.on('rejected', (context) => { console.error(context.delivery.remote_state.error); process.exit(1); });
    const connection = container.connect(options);
    connection.open_sender(queue);
} else {
    const received = [];
    container.on('message', (context) => {
        received.push(context.message.body);
        if (new Set(received).size === last) {
            setTimeout(() => { console.log(JSON.stringify(received)); process.exit(0); }, 300);
        }
    });
    const connection = container.connect(options);
    connection.open_receiver({ source: queue, credit_window: 100 });
}
