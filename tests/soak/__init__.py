"""Soak test: real broker processes under a schedule of faults: `make soak ARGS="--minutes 30 --seed 1"`.

ledger    compares what publishers sent with what was delivered: each message, in order for each publisher
changes   queues, objects and messages that change in transactions beside the stream, and their model
watch     the logs and the memory of the processes
cluster   three brokers, the network between them, and clients that never stop
faults    the kinds of faults
run       the schedule, the verdict after each fault, and the report
"""
