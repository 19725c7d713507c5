"""Where sealed bytes lie, write-once.

vault  the promise every store keeps, and the law of object names
disk   a folder on a disk of our own
s3     a bucket with Object Lock, on a server of anybody's
canary what a bucket has to withstand before it is trusted
space  how much a vault may hold
"""
