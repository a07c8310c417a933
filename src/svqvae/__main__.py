"""``python -m svqvae``: the command line where a launcher such as torchrun asks for a module."""

from svqvae.cli import main

if __name__ == "__main__":
    main()
