"""`python -m colorexp.train RUN`: what the train notebook does, without a notebook; torchrun, SLURM and GPU machines start it."""

import argparse

from colorexp import config, runs


def main() -> None:
    """Train one run of params.yaml."""
    parser = argparse.ArgumentParser(prog="python -m colorexp.train", description=__doc__)
    parser.add_argument("run", help="<paper>/<run>, for example user_guided/res_unet")
    parser.add_argument("--out", help="folder for weights, history and run.json (default: artifacts/runs/<paper>/<run>)")
    parser.add_argument("--profile", choices=config.PROFILES, help="instead of the one in params.yaml")
    given = parser.parse_args()
    runs.train(runs.build(config.load(given.run, profile=given.profile), out=given.out))


if __name__ == "__main__":
    main()
