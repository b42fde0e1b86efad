"""Life as a stream and inside a program: one module for each question, and what they share.

latency.py, native.py, pools.py, callers.py and cold_start.py each measure one thing and return
plain dicts; page.py makes tables of them. ../streaming.py is the command.
"""
