// Ranges of ids in a sorted vector, as Qpid's C++ broker keeps them (qpid::RangeSet): what it costs that a change
// in the middle, or at the front, moves everything behind it. Compiled and run by benchmarks/sets.py.
//
//     rangeset RUNS CALLS   prints nanoseconds: a removal of the first run, an insertion at random

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct Range {
    std::uint64_t begin, end;
    bool operator<(const Range& other) const { return begin < other.begin; }
};

using Ranges = std::vector<Range>;

static Ranges evens(std::uint64_t runs) {
    Ranges ranges;
    for (std::uint64_t i = 0; i < runs; ++i) ranges.push_back({4 * i, 4 * i + 1});
    return ranges;
}

template <class Work>
static double nanoseconds(long calls, Work work) {
    auto started = std::chrono::steady_clock::now();
    work();
    std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - started;
    return spent.count() / static_cast<double>(calls);
}

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const auto runs = std::strtoull(argv[1], nullptr, 10);
    const long calls = std::strtol(argv[2], nullptr, 10);
    Ranges first = evens(runs);
    double removal = nanoseconds(calls, [&] {
        for (long i = 0; i < calls; ++i) first.erase(first.begin());
    });
    Ranges random = evens(runs);
    random.reserve(runs + static_cast<std::size_t>(calls));
    std::mt19937_64 next(1);
    double insertion = nanoseconds(calls, [&] {
        for (long i = 0; i < calls; ++i) {
            const std::uint64_t id = 4 * (next() % runs) + 2;
            const Range range{id, id + 1};
            random.insert(std::lower_bound(random.begin(), random.end(), range), range);
        }
    });
    std::printf("%.3f %.3f %zu\n", removal, insertion, first.size() + random.size());
    return 0;
}
