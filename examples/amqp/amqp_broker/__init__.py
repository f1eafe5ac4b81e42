"""An AMQP 1.0 broker that is highly available: Proton's engine inside asyncio, qpidha for everything that must survive.

Modules, from the bottom up:

    codec sections          AMQP's types, and the sections of a message as far as a broker looks at them
    names definitions       queues, exchanges and bindings as the configuration keeps them
    matching                which binding takes which message
    queues exchanges        the queues of one term, and the ways to them
    publishing              one message on its way to the queues that take it
    incoming outgoing       links on which clients publish, and from which they consume
    transactions            the coordinator
    management              ``$management``: create, read, query and delete
    sasl                    who a client is
    connection              one client
    transfers               links to other brokers
    broker                  all of it, and what the library calls
"""
