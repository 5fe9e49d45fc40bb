"""The face of Demitasse: the command line (`demitasse.cli`) and the SDK (`demitasse.client`).

Everything below it can be used without it; nothing below imports it. Kept free
of imports of its own, so that `demitasse --help` and `from demitasse.client
import Client` each pay for what they use.
"""

__version__ = "0.1.0"
