"""`python -m demitasse`: the same as the command `demitasse`."""

from demitasse.cli import main

if __name__ == "__main__":
    main()
