"""The canary: does everything that a first mint needs work, from the prompt to the reveal?"""
