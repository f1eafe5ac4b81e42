// Sends messages of some sizes, with bodies of several kinds, one after the other; says what became of each.
// cpp_sizes PORTS QUEUE SIZE...
#include <proton/connection.hpp>
#include <proton/connection_options.hpp>
#include <proton/container.hpp>
#include <proton/error_condition.hpp>
#include <proton/message.hpp>
#include <proton/messaging_handler.hpp>
#include <proton/reconnect_options.hpp>
#include <proton/sender.hpp>
#include <proton/tracker.hpp>
#include <proton/transfer.hpp>
#include <proton/transport.hpp>
#include <proton/types.hpp>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

struct Sizes : proton::messaging_handler {
    std::vector<std::string> urls;
    std::string queue;
    std::deque<std::pair<size_t, std::string>> todo;
    bool waiting = false, opened = false;

    void on_container_start(proton::container &c) override {
        proton::reconnect_options again;
        again.delay(proton::duration(20)).max_delay(proton::duration(100));
        proton::connection_options options;
        std::vector<std::string> others(urls.begin() + 1, urls.end());
        options.reconnect(again).failover_urls(others);
        c.connect(urls[0], options);
    }
    void on_connection_open(proton::connection &c) override {
        if (!opened) c.open_sender(queue);
        opened = true;
    }
    void on_transport_error(proton::transport &) override {}
    void on_sendable(proton::sender &s) override { send(s); }
    void send(proton::sender s) {
        if (waiting || s.credit() <= 0) return;
        if (todo.empty()) {
            std::cout << "done" << std::endl;
            std::exit(0);
        }
        waiting = true;
        auto [size, kind] = todo.front();
        std::vector<std::string> words(size / 5000 + 1, std::string(std::min<size_t>(size, 5000), 'x'));
        proton::message m;
        if (kind == "text") m.body(std::string(size, 'x'));
        else if (kind == "list") m.body(words);
        else m.body(proton::binary(size, 0xa5));
        m.inferred(kind == "data");
        m.durable(true);
        s.send(m);
    }
    void over(proton::tracker &t, const std::string &outcome, const std::string &condition) {
        std::cout << todo.front().first << " " << todo.front().second << " " << outcome << " " << condition << std::endl;
        todo.pop_front();
        waiting = false;
        send(t.sender());
    }
    void on_tracker_accept(proton::tracker &t) override { over(t, "accepted", ""); }
    void on_tracker_reject(proton::tracker &t) override { over(t, "rejected", ""); }
};

int main(int count, char **argv) {
    Sizes sizes;
    std::stringstream ports(argv[1]);
    for (std::string port; std::getline(ports, port, ',');) sizes.urls.push_back("amqp://127.0.0.1:" + port);
    sizes.queue = argv[2];
    for (int n = 3; n < count; n++)
        for (auto kind : {"binary", "data", "text", "list"}) sizes.todo.emplace_back(std::atol(argv[n]), kind);
    proton::container(sizes).run();
}
