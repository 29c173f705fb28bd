/* Metadata that a kind of config.json says in its own way: for rows.c. */
#ifndef PN_MODEL_HF_MORE_H
#define PN_MODEL_HF_MORE_H

struct pn_hf;

void pn_hf_more_latent(struct pn_hf *hf);
void pn_hf_more_llama4(struct pn_hf *hf);
void pn_hf_more_mllama(struct pn_hf *hf);
void pn_hf_more_xielu(struct pn_hf *hf);
void pn_hf_more_delta(struct pn_hf *hf);
void pn_hf_more_gemma3n(struct pn_hf *hf);
void pn_hf_more_gemma4(struct pn_hf *hf);
void pn_hf_more_gpt(struct pn_hf *hf);
void pn_hf_more_neox(struct pn_hf *hf);
void pn_hf_more_mpt(struct pn_hf *hf);
void pn_hf_more_falcon(struct pn_hf *hf);
void pn_hf_more_granite_hybrid(struct pn_hf *hf);
void pn_hf_more_minicpm(struct pn_hf *hf);
void pn_hf_more_ernie(struct pn_hf *hf);
void pn_hf_more_afmoe(struct pn_hf *hf);
void pn_hf_more_lfm2(struct pn_hf *hf);
void pn_hf_more_mamba(struct pn_hf *hf);
void pn_hf_more_jamba(struct pn_hf *hf);
void pn_hf_more_nemotron_h(struct pn_hf *hf);
void pn_hf_more_bert(struct pn_hf *hf);
void pn_hf_more_modern_bert(struct pn_hf *hf);

#endif
