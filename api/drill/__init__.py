"""`vidne drill`: the whole way rehearsed, in a data folder of its own, never in a real vault.

run      the steps, in order, with their figures
faults   what can be broken on the way, and what must then be true
cable    a camera's cable that can be pulled out
accounts what was lost and what was declared
house    real processes on free ports, in a folder of their own
visitor  a person at a browser, without the browser
viewer   a WHEP viewer that reads the clock in the picture
package  the evidence copy, opened and checked as a receiver would
"""
