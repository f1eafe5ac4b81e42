"""Real broker processes for as long as wanted, under a schedule of faults: `make soak ARGS="--minutes 30 --seed 1"`.

ledger    what publishers sent and what came out: exact, per publisher, in order
watch     what the processes say and need: their logs, their memory
cluster   three brokers, the network between them, and clients that never stop
faults    what is done to them
run       the schedule, the verdict after each fault, and the report
"""
