// A client in C++: publishes 1, 2, 3 ... unsettled, numbered if it has a name, or consumes; follows the primary.
// cpp_client publish|consume PORTS QUEUE COUNT [PUBLISHER]
#include <proton/annotation_key.hpp>
#include <proton/connection.hpp>
#include <proton/connection_options.hpp>
#include <proton/container.hpp>
#include <proton/delivery.hpp>
#include <proton/message.hpp>
#include <proton/messaging_handler.hpp>
#include <proton/receiver_options.hpp>
#include <proton/reconnect_options.hpp>
#include <proton/sender.hpp>
#include <proton/symbol.hpp>
#include <proton/tracker.hpp>
#include <proton/transport.hpp>

#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

struct Client : proton::messaging_handler {
    std::vector<std::string> urls;
    std::string queue;
    long last = 0;
    bool opened = false; // Links that are open are opened again by the container.

    proton::connection_options options() {
        proton::reconnect_options again;
        again.delay(proton::duration(20)).max_delay(proton::duration(100));
        std::vector<std::string> others(urls.begin() + 1, urls.end());
        proton::connection_options options;
        options.reconnect(again).failover_urls(others);
        return options;
    }
    void on_container_start(proton::container &c) override { c.connect(urls[0], options()); }
    void on_transport_error(proton::transport &) override {}
};

struct Publisher : Client {
    std::string name;
    proton::sender sender;
    std::set<long> accepted;
    std::map<proton::binary, long> sent;
    long next = 1;

    void on_connection_open(proton::connection &c) override {
        if (!opened) c.open_sender(queue);
        opened = true;
    }
    void on_sender_open(proton::sender &s) override {
        // What was not answered when the connection was lost is sent again, in order.
        sender = s;
        sent.clear();
        for (next = 1; accepted.count(next);) next++;
        send();
    }
    void on_sendable(proton::sender &) override { send(); }
    void send() {
        while (sender.credit() > 0 && sent.size() < 50 && next <= last) {
            long number = next++;
            if (accepted.count(number)) continue;
            proton::message message(std::int64_t{number});
            message.durable(true);
            if (!name.empty()) {
                message.message_annotations().put(proton::symbol("x-opt-publisher"), name);
                message.message_annotations().put(proton::symbol("x-opt-number"), std::int64_t{number});
            }
            sent[sender.send(message).tag()] = number;
        }
    }
    void on_tracker_accept(proton::tracker &t) override {
        auto found = sent.find(t.tag());
        if (found == sent.end()) return;
        accepted.insert(found->second);
        sent.erase(found);
        if (accepted.size() % 100 == 0) std::cout << accepted.size() << std::endl;
        if (long(accepted.size()) == last) {
            std::cout << "done" << std::endl;
            std::exit(0);
        }
        send();
    }
    void on_tracker_reject(proton::tracker &) override { std::exit(1); }
};

struct Consumer : Client {
    std::vector<long> received;

    void on_connection_open(proton::connection &c) override {
        if (!opened) c.open_receiver(queue);
        opened = true;
    }
    void on_message(proton::delivery &, proton::message &m) override {
        received.push_back(proton::coerce<std::int64_t>(m.body()));
        if (long(std::set<long>(received.begin(), received.end()).size()) == last) {
            std::cout << "[";
            for (size_t n = 0; n < received.size(); n++) std::cout << (n ? "," : "") << received[n];
            std::cout << "]" << std::endl;
            std::exit(0);
        }
    }
};

int main(int, char **argv) {
    Publisher publisher;
    Consumer consumer;
    Client &client = std::string(argv[1]) == "publish" ? static_cast<Client &>(publisher) : consumer;
    std::stringstream ports(argv[2]);
    for (std::string port; std::getline(ports, port, ',');) client.urls.push_back("amqp://127.0.0.1:" + port);
    client.queue = argv[3];
    client.last = std::atol(argv[4]);
    if (argv[5]) publisher.name = argv[5];
    proton::container(client).run();
}
