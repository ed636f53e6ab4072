"""A way to this machine's Docker engine that allows what the emulated Lambda needs, and nothing else.

Whoever reaches the engine's socket is root on the machine. The emulated AWS API does not reach it: it has the socket of this
server, which reads each request (`allowed`), makes a new one of what is allowed, and sends that on (`proxy`).
"""
