"""`python -m sealmesh` is the command."""

from sealmesh.cli.main import main

if __name__ == "__main__":
    main()
