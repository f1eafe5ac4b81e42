"""amqtt, a broker that was there before, made highly available from outside.

state        the part of MQTT's state that all nodes have: a queue for each session, and four tables
replicated   amqtt's broker and its connections: what they keep is in the state, too; answers wait until it is safe
__main__     the process: a node, and a broker of amqtt for each of its terms as primary
"""
