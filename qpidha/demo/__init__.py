"""The demonstration behind ``qpidha demo``: real brokers, a real stream, a primary killed again and again.

`run` is the whole of it. `input` reads what is streamed, `pace` decides when to kill, `cluster` owns the
broker processes, `watch` looks at them, `traffic` publishes and consumes, `progress` shows it on a terminal,
`report` passes the verdict and `picture` draws it.
"""
