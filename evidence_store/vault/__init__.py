"""Where sealed bytes lie, write-once.

vault  the promise every store keeps, and the law of object names
disk   a folder on a disk of our own
"""
