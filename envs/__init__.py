"""Virtual environments for models: which one a package needs, and building it once.

An environment is addressed by what it is made from, so that models with equal
needs share it. Holds numpy, msgpack, what the author asked for, and the
author's kit; none of the platform's own dependencies. Knows no model, no
catalog and no process that runs in an environment.
"""
