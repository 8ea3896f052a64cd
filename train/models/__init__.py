"""Which networks are there? The Fully Spiking VAE and its relatives, each with its loss.

- base: Model
- spiking: SpikingVae
- fsvae: FSVAE, GlifVae
- prior: RatePrior, fit, load_prior
- esvae: Esvae
- poisson: PoissonVae
- ann: AnnVae
- build: build_model
- losses: Losses, mmd, mmd_rbf, kld, gaussian_kld
- resample: down_block, up_block
- dictionary: draw_dictionary, draw_rates
"""
